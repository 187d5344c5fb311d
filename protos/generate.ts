import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const protosFolder = import.meta.dirname
const buf = join(protosFolder, '..', 'node_modules', '.bin', 'buf')

/** Checks the style of the `.proto` files; throws with buf's findings. */
export function lintProtos(): void {
  execFileSync(buf, ['lint'], { cwd: protosFolder, stdio: 'pipe', encoding: 'utf8' })
}

/**
 * Writes the TypeScript of every `.proto` file, and `descriptors.ts` with the descriptor set that reflection serves,
 * into `folder`, which is emptied first. The same inputs give the same bytes; no network is used.
 */
export function generateProtos(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const template = readFileSync(join(protosFolder, 'buf.gen.yaml'), 'utf8')
  const scratch = mkdtempSync(join(tmpdir(), 'headwater-protos-'))
  try {
    const templateFile = join(scratch, 'buf.gen.yaml')
    writeFileSync(templateFile, template.replace('out: gen', `out: ${JSON.stringify(resolve(folder))}`))
    execFileSync(buf, ['generate', '--template', templateFile], { cwd: protosFolder, stdio: 'pipe' })
    const image = join(scratch, 'descriptors.binpb')
    execFileSync(buf, ['build', '--as-file-descriptor-set', '-o', image], { cwd: protosFolder, stdio: 'pipe' })
    writeFileSync(join(folder, 'descriptors.ts'), descriptorModule(readFileSync(image)))
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function descriptorModule(image: Buffer): string {
  const lines = image.toString('base64').match(/.{1,110}/g) ?? []
  return [
    '// Made by `node protos/generate.ts`.',
    '/** A google.protobuf.FileDescriptorSet of every proto file here, in base64. */',
    'export const descriptorSet =',
    lines.map(line => `  '${line}'`).join(' +\n'),
    '',
  ].join('\n')
}

if (import.meta.main) generateProtos(join(protosFolder, 'gen'))
