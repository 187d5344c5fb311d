import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const root = resolve(import.meta.dirname, '..')

/** The outcome of one part of the check: its findings as text, empty or informative when it passed. */
export interface CheckResult {
  readonly name: string
  readonly passed: boolean
  readonly output: string
  readonly seconds: number
}

interface CheckStep {
  readonly name: string
  run(): Promise<{ readonly passed: boolean; readonly output: string }>
}

/** A step that runs a JavaScript file of an installed package. */
function tool(name: string, script: string, args: readonly string[]): CheckStep {
  return {
    name,
    run: () =>
      new Promise((done, fail) => {
        const child = spawn(process.execPath, [join(root, 'node_modules', script), ...args], {
          cwd: root,
          stdio: ['ignore', 'pipe', 'pipe'],
          env: { ...process.env, NO_COLOR: '1' },
        })
        const chunks: Buffer[] = []
        child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
        child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
        child.once('error', fail)
        child.once('close', code => done({ passed: code === 0, output: Buffer.concat(chunks).toString().trim() }))
      }),
  }
}

interface Generator {
  generateProtos(folder: string): void
  lintProtos(): void
}

/** Generates the protocol code again, elsewhere, and compares file by file. */
async function generatedCodeIsFresh(): Promise<{ readonly passed: boolean; readonly output: string }> {
  const generator = join(root, 'protos', 'generate.ts')
  if (!existsSync(generator)) return { passed: false, output: 'protos/generate.ts is missing' }
  const { generateProtos, lintProtos } = (await import(pathToFileURL(generator).href)) as Generator
  lintProtos()
  const scratch = mkdtempSync(join(tmpdir(), 'headwater-generated-'))
  try {
    generateProtos(scratch)
    const committed = filesIn(join(root, 'protos', 'gen'))
    const fresh = filesIn(scratch)
    const stale = [...new Set([...committed.keys(), ...fresh.keys()])].filter(
      file => committed.get(file) !== fresh.get(file),
    )
    const output = stale.map(file => `protos/gen/${file} differs from what protos/generate.ts makes`)
    if (stale.length > 0) output.push('Remedy: npm run generate')
    return { passed: stale.length === 0, output: output.join('\n') }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function filesIn(folder: string): ReadonlyMap<string, string> {
  if (!existsSync(folder)) return new Map()
  return new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath, entry.name))
      .map(file => [relative(folder, file).replaceAll('\\', '/'), readFileSync(file, 'utf8')]),
  )
}

const steps: readonly CheckStep[] = [
  tool('format (prettier)', 'prettier/bin/prettier.cjs', ['--check', '--log-level', 'warn', '.']),
  tool('lint (oxlint, import rules)', 'oxlint/bin/oxlint', ['--type-aware', '--format', 'unix']),
  tool('types (tsc)', 'typescript/bin/tsc', ['-p', '.']),
  tool('types of bin (tsc)', 'typescript/bin/tsc', ['-p', 'bin']),
  { name: 'generated code is fresh', run: generatedCodeIsFresh },
  tool('unused code (knip)', 'knip/bin/knip.js', ['--no-progress', '--treat-config-hints-as-errors']),
]

/**
 * Runs every part of the check, whatever the others say, and prints each outcome as it is known.
 * @returns one result per part
 */
export async function runChecks(): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = []
  for (const step of steps) {
    const startedMs = performance.now()
    const { passed, output } = await step.run().catch((error: unknown) => ({
      passed: false,
      output: error instanceof Error ? (error.stack ?? error.message) : String(error),
    }))
    const seconds = (performance.now() - startedMs) / 1000
    results.push({ name: step.name, passed, output, seconds })
    console.log(`${passed ? 'ok  ' : 'FAIL'}  ${step.name} (${seconds.toFixed(1)} s)`)
    if (output !== '') console.log(output.replaceAll(/^/gm, '      '))
  }
  return results
}

if (import.meta.main) {
  const failed = (await runChecks()).filter(result => !result.passed)
  console.log(failed.length === 0 ? 'check: everything passed' : `check: ${failed.length} of ${steps.length} failed`)
  process.exitCode = failed.length === 0 ? 0 : 1
}
