import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '../..')
const define = join(root, 'features/define/index.ts')
const folder = mkdtempSync(join(tmpdir(), 'headwater-types-'))

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Runs the compiler over a project; resolves with its exit status and what it printed. */
function tsc(
  project: string,
  ...flags: readonly string[]
): Promise<{ readonly status: number; readonly output: string }> {
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  return new Promise(done => {
    execFile(process.execPath, [compiler, '-p', project, ...flags], { maxBuffer: 1 << 24 }, (error, stdout) => {
      done({ status: error === null ? 0 : Number(error.code), output: stdout })
    })
  })
}

/** Writes one module with the project file that compiles it alone. */
function project(name: string, source: string): string {
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(folder, `${name}.ts`), source)
  const file = join(folder, `${name}.json`)
  const compilerOptions = { types: [] }
  writeFileSync(
    file,
    JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, include: [`./${name}.ts`] }),
  )
  return file
}

const GROUPS = 40
const FEATURES = 25
const SERVICES = 4

/** A project of 40 groups of 25 features, and 4 services that see them all with 40 derived features each. */
function largeProject(): string {
  const count = (n: number): readonly number[] => [...new Array(n).keys()]
  const operators = (g: number): readonly string[] => [
    `e.sum(e.amount_${g}, '1h')`,
    `e.mean(e.amount_${g}, '1d', { whenEmpty: 0 })`,
    `e.count('5m', { where: e.amount_${g}.gt(5).and(e.word_${g}.isNull()) })`,
    `e.last(e.word_${g}, 'lifetime')`,
    `e.lastN(e.word_${g}, 3, '7d')`,
  ]
  const fields = count(GROUPS).map(
    g => `key_${g}: t.string(), amount_${g}: t.decimal(2), word_${g}: t.optional(t.string())`,
  )
  const features = (g: number): string =>
    count(FEATURES)
      .map(f => `f${f}: ${operators(g)[f % 5]}`)
      .join(', ')
  const derived = count(GROUPS).map(g => `d${g}: v => v.g${g}.f0 / (v.g${g}.f1 || 1) + v.request.amount_${g}`)
  return [
    `import { entity, event, group, service, t } from ${JSON.stringify(define)}`,
    `const payment = event('payment', { topic: 'p', id: 'id', time: 'at', lateness: '1d', fields: { id: t.string(), at: t.timestamp(), ${fields.join(', ')} } })`,
    ...count(GROUPS).map(g => `const e${g} = entity('e${g}', { key: 'key_${g}' })`),
    ...count(GROUPS).map(
      g => `export const g${g} = group('g${g}', { entity: e${g}, source: payment }, e => ({ ${features(g)} }))`,
    ),
    ...count(SERVICES).map(
      s =>
        `export const s${s} = service('s${s}', { request: payment, groups: [${count(GROUPS)
          .map(g => `g${g}`)
          .join(', ')}], derived: { ${derived.join(', ')} } })`,
    ),
  ].join('\n')
}

describe('the types of the authoring language', () => {
  it('infer exactly, and refuse what is wrong', async () => {
    expect(await tsc(join(root, 'test/define/types/tsconfig.json'))).toEqual({ status: 0, output: '' })
  })

  it('are what makes wrong definitions fail', async () => {
    const source = [
      `import { entity, event, group, t } from ${JSON.stringify(define)}`,
      `const login = event('login', { topic: 'l', id: 'id', time: 'at', lateness: '1h', fields: { id: t.string(), at: t.timestamp() } })`,
      `const user = entity('user', { key: 'id' })`,
      `export const g = group('g', { entity: user, source: login }, e => ({`,
      `  a: e.count('5min'),`,
      `  b: e.sum(e.id, '5m'),`,
      `  c: e.last(e.device, '5m'),`,
      `}))`,
    ]
    const { status, output } = await tsc(project('wrong', source.join('\n')))
    expect(status).not.toBe(0)
    const errors = output.split('\n').filter(line => /^\S.*error TS/.test(line))
    expect(errors.map(line => Number(/\((\d+),/.exec(line)?.[1]))).toEqual([5, 6, 7])
    expect(output).toContain("Property 'device' does not exist")
  })

  it('cost at most 60,000 instantiations for 40 groups of 25 features and 4 services', async () => {
    const { status, output } = await tsc(project('large', largeProject()), '--extendedDiagnostics')
    expect(output).not.toContain('error TS')
    expect(status).toBe(0)
    const instantiations = Number(/^Instantiations:\s+(\d+)$/m.exec(output)?.[1])
    expect(instantiations).toBeGreaterThan(1000)
    expect(instantiations).toBeLessThanOrEqual(60_000)
  })
})
