import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { generateProtos, lintProtos } from '../../protos/generate.ts'
import { SERVER_ERRORS } from '../../topology/ports/server.ts'

const protos = join(import.meta.dirname, '..', '..', 'protos')

function filesOf(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = names.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name))
  return Object.fromEntries(files.map(file => [file.slice(folder.length), readFileSync(file, 'utf8')]))
}

describe('protos', () => {
  it('pass the linter', () => {
    expect(() => lintProtos()).not.toThrow()
  })

  it('have generated code that is fresh: run `node protos/generate.ts`', () => {
    const folder = mkdtempSync(join(tmpdir(), 'headwater-fresh-'))
    try {
      generateProtos(folder)
      expect(filesOf(folder)).toEqual(filesOf(join(protos, 'gen')))
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }, 60_000)

  it('document the closed set of errors exactly', () => {
    const readme = readFileSync(join(protos, 'README.md'), 'utf8')
    const rows = [...readme.matchAll(/^\| `([A-Z_]+)` +\| `([A-Z_]+)` +\| (yes|no) +\| (.+?) +\|$/gm)].map(
      ([, code, grpcStatus, retry, meaning]) => [code, { grpcStatus, retryable: retry === 'yes', meaning }],
    )
    expect(Object.fromEntries(rows)).toEqual(SERVER_ERRORS)
  })
})
