import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { OPERATOR_NAMES } from '../../features/define/rows.ts'
import { AGGREGATORS } from '../../features/kernel/index.ts'
import type { AggregatorDescriptor, ParamValue } from '../../features/kernel/aggregators/index.ts'
import type { FieldType } from '../../features/kernel/types.ts'

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
    `e.lastN(e.word_${g}, 3, tumbling('1d', { lookback: 1 }))`,
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
    `import { entity, event, group, service, t, tumbling } from ${JSON.stringify(define)}`,
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

const TYPES: Readonly<Record<string, FieldType>> = {
  'string()': { kind: 'string' },
  'boolean()': { kind: 'boolean' },
  'int()': { kind: 'int' },
  'int64()': { kind: 'int64' },
  'double()': { kind: 'double' },
  'decimal(2)': { kind: 'decimal', scale: 2 },
  'timestamp()': { kind: 'timestamp' },
  'vector(3)': { kind: 'vector', length: 3 },
}

/** Parameters that have a place among the arguments, as authors write them. */
const PLACED: Readonly<Record<string, string>> = { n: '3', k: '3', q: '0.5', edges: '[1, 2]', categories: "['a', 'b']" }

interface Call {
  readonly text: string
  readonly accepted: boolean
  readonly valueType: string
}

/** Every way to call an aggregator with a field of each type or none, and as the second field. */
function callsOf(descriptor: AggregatorDescriptor): readonly Call[] {
  const { family } = descriptor
  const placed = Object.keys(descriptor.params).filter(name => name in PLACED)
  const values: Record<string, ParamValue> = { n: 3, k: 3, q: 0.5, edges: [1, 2], categories: ['a', 'b'] }
  const params = Object.fromEntries(placed.map(name => [name, values[name] ?? 0]))
  const bound = { ...params, ...('halfLifeMs' in descriptor.params ? { halfLifeMs: 1000 } : {}) }
  const needsBound = family === 'distinctSet'
  const all = needsBound ? { ...bound, bound: 5 } : bound
  const columns = Object.entries(TYPES).map(([, type], index) => ({ name: `c${index}`, type }))
  const takesTwo = !descriptor.acceptsBy(null)
  const inputs = [...(takesTwo ? [] : [{ name: '', type: null }]), ...columns]
  return inputs.flatMap(({ name, type }) =>
    (takesTwo ? columns : [{ name: '', type: null }]).map((by): Call => {
      const args = [name, by.name, ...placed.map(each => PLACED[each] ?? ''), "'1h'", needsBound ? '{ bound: 5 }' : '']
      const fields = args.map(arg => (/^c\d$/.test(arg) ? `e.${arg}` : arg)).filter(arg => arg !== '')
      const accepted = descriptor.accepts(type) && descriptor.acceptsBy(by.type)
      return {
        text: `e.${family}(${fields.join(', ')})`,
        accepted,
        valueType: accepted ? descriptor.valueType(type, all) : '',
      }
    }),
  )
}

/** A module that compiles only where the authoring types say of each call what the kernel says. */
function agreement(): string {
  const fields = Object.keys(TYPES).map((type, index) => `c${index}: t.${type}`)
  const calls = AGGREGATORS.flatMap(callsOf)
  return [
    `import { entity, event, group, t } from ${JSON.stringify(define)}`,
    `import type { View } from ${JSON.stringify(define)}`,
    `const all = event('all', { topic: 'p', id: 'id', time: 'at', lateness: '1d', fields: { id: t.string(), at: t.timestamp(), ${fields.join(', ')} } })`,
    `type Equal<A, B> = (<X>() => X extends A ? 1 : 2) extends <X>() => X extends B ? 1 : 2 ? true : false`,
    `export const g = group('g', { entity: entity('one', { key: 'id' }), source: all }, e => ({`,
    ...calls.flatMap(({ text, accepted }, index) => [
      ...(accepted ? [] : ['  // @ts-expect-error']),
      `  f${index}: ${text},`,
    ]),
    `}))`,
    `type V = View<typeof all, readonly [typeof g]>['g']`,
    ...calls.flatMap(({ accepted, valueType, text }, index) =>
      accepted ? [`export const v${index}: Equal<V['f${index}'], ${valueType}> = true // ${text}`] : [],
    ),
  ].join('\n')
}

describe('the types of the authoring language', () => {
  it('infer exactly, and refuse what is wrong', async () => {
    expect(await tsc(join(root, 'test/define/types/tsconfig.json'))).toEqual({ status: 0, output: '' })
  })

  it('have an operator for each aggregator of the kernel, and no other', () => {
    expect([...OPERATOR_NAMES].sort()).toEqual(AGGREGATORS.map(each => each.family).sort())
  })

  it('take the fields that the kernel takes, refuse the others, and give values of the type that the plan names', async () => {
    expect(await tsc(project('agreement', agreement()))).toEqual({ status: 0, output: '' })
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
