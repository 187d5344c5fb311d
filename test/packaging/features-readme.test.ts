import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..', '..')
const left = ['node_modules', 'dist', '.git', '.headwater', 'load-tests', 'test']

interface Block {
  readonly kind: 'sh' | 'text'
  readonly text: string
}

function blocksOf(markdown: string): readonly Block[] {
  const found = [...markdown.matchAll(/^```(sh|text)\n(.*?)^```$/gms)]
  return found.map(([, kind, text]) => ({ kind: kind === 'sh' ? 'sh' : 'text', text: text ?? '' }))
}

let checkout = ''

beforeAll(() => {
  checkout = realpathSync(mkdtempSync(join(tmpdir(), 'headwater-newcomer-')))
  cpSync(root, checkout, { recursive: true, filter: source => !left.includes(basename(source)) })
  symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'))
})

afterAll(() => rmSync(checkout, { recursive: true, force: true }))

it('works word for word: every command succeeds, every output shown is seen', () => {
  const blocks = blocksOf(readFileSync(join(checkout, 'features', 'README.md'), 'utf8'))
  expect(blocks.filter(block => block.kind === 'sh').length).toBeGreaterThan(3)
  let output = ''
  for (const { kind, text } of blocks) {
    if (kind === 'text') {
      expect(output).toContain(text)
      continue
    }
    const ran = spawnSync('bash', ['-euo', 'pipefail', '-c', text], { cwd: checkout, encoding: 'utf8' })
    expect(ran.status, `${text}\n${ran.stdout}${ran.stderr}`).toBe(0)
    output = ran.stdout
  }
})
