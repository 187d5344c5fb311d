import { entity, event, group, lastEvents, session, t, tumbling } from '../../features/define/index.ts'
import type { Feature } from '../../features/define/index.ts'
import type { AggregatorDescriptor, RawParams } from '../../features/kernel/aggregators/index.ts'
import type { FieldType, Value } from '../../features/kernel/types.ts'
import { compileProject } from '../../features/plan/compile.ts'

/** What the page must say of an aggregator, by the heading of the column. */
export type Reference = Readonly<Record<'aggregator' | 'takes' | 'windows' | 'answers' | 'empty' | 'offline', string>>

const TYPES: readonly FieldType[] = [
  { kind: 'string' },
  { kind: 'boolean' },
  { kind: 'int' },
  { kind: 'int64' },
  { kind: 'double' },
  { kind: 'decimal', scale: 2 },
  { kind: 'timestamp' },
  { kind: 'vector', length: 2 },
]

/** How the page calls sets of field types. */
const TAKES: Readonly<Record<string, string>> = {
  'string boolean int int64 double decimal timestamp vector': 'any field',
  'string boolean int int64 double decimal timestamp': 'any but vectors',
  'boolean int int64 double decimal': 'numbers, booleans',
  'int int64 double decimal timestamp': 'numbers, timestamps',
  'string boolean int int64': 'strings, booleans, int, int64',
  boolean: 'booleans',
  vector: 'vectors',
}

/** Parameters that have no default, and a place among the arguments. */
const PLACED: RawParams = { n: 2, k: 2, q: 0.5, edges: [0], categories: ['x'] }

function paramsOf({ params }: AggregatorDescriptor): RawParams {
  const all: RawParams = { ...PLACED, bound: 2, halfLifeMs: 1000 }
  const required = Object.entries(params).filter(([, spec]) => !('default' in spec) || spec.default === null)
  return Object.fromEntries(required.map(([name]) => [name, all[name]!]))
}

/** As an author calls it; `field?` may be left out, options stand with their defaults. */
function signature(descriptor: AggregatorDescriptor): string {
  const { family, params, accepts, acceptsBy } = descriptor
  const options = Object.entries(params).filter(([name]) => !(name in PLACED) && name !== 'halfLifeMs')
  const shown = options.map(([name, spec]) =>
    'default' in spec && spec.default !== null ? `${name} = ${spec.default}` : name,
  )
  const args = [
    accepts(null) ? 'field?' : 'field',
    ...(acceptsBy(null) ? [] : ['by']),
    ...Object.keys(params).filter(name => name in PLACED),
    'halfLifeMs' in params ? 'halfLife' : 'window',
    ...(shown.length > 0 ? [`{ ${shown.join(', ')} }`] : []),
  ]
  return `${family}(${args.join(', ')})`
}

/** The type of the value when there is one, `V` standing for that of the field. */
function answers(descriptor: AggregatorDescriptor): string {
  const params = paramsOf(descriptor)
  const shapes = TYPES.filter(type => descriptor.accepts(type)).map(type => {
    const found = plain(descriptor.valueType(type, params))
    const own = type.kind in OWN ? OWN[type.kind]! : 'number'
    return { kind: type.kind, found, general: found.replace(`(${own})`, own).replace(own, 'V') }
  })
  const same = (texts: readonly string[]): boolean => new Set(texts).size === 1
  if (same(shapes.map(each => each.found))) return shapes[0]!.found
  if (same(shapes.map(each => each.general))) return shapes[0]!.general
  const others = shapes.filter(each => each.found !== 'number').map(each => `${each.found} of ${each.kind}`)
  return ['number', ...others].join(', ')
}

/** The names of types that authors see other than as numbers. */
const OWN: Readonly<Record<string, string>> = {
  string: 'string',
  boolean: 'boolean',
  int64: 'bigint',
  vector: 'number[]',
}

function plain(type: string): string {
  return type
    .replace(/ \| null$/, '')
    .replaceAll('readonly ', '')
    .replace(/^\((\[.*\])\)\[\]$/, '$1[]')
}

function emptyText(value: Value): string {
  if (Array.isArray(value)) return value.length === 0 ? '[]' : 'zeros'
  return String(value)
}

const login = event('login', {
  topic: 'logins',
  id: 'id',
  time: 'at',
  lateness: '1m',
  fields: { id: t.string(), at: t.timestamp(), flag: t.boolean(), size: t.int(), place: t.vector(2) },
})
const WINDOWS = {
  sliding: '1h',
  tumbling: tumbling('1h'),
  session: session('1m'),
  'last events': lastEvents(2),
  lifetime: 'lifetime',
}

/** How the page calls sets of windows. */
const WINDOW_SETS: Readonly<Record<string, string>> = {
  'sliding, tumbling, session, last events, lifetime': 'all',
  'sliding, tumbling, session, last events': 'all but lifetime',
  'sliding, tumbling': 'sliding, tumbling',
}

/** The windows over which the plan lets an author use it. */
function windowsOf({ family, params, accepts, acceptsBy }: AggregatorDescriptor): string {
  if ('halfLifeMs' in params) return 'decay'
  const field = accepts({ kind: 'boolean' }) ? 'flag' : accepts({ kind: 'int' }) ? 'size' : 'place'
  const placed = Object.keys(params).flatMap(name => (name in PLACED ? [PLACED[name]] : []))
  const allowed = Object.entries(WINDOWS).filter(([, window]) => {
    const logins = group('logins', { entity: entity('user', { key: 'id' }), source: login }, e => {
      const operators = e as unknown as Readonly<Record<string, (...args: readonly unknown[]) => Feature>>
      const by = acceptsBy(null) ? [] : [operators['size']]
      const options = family === 'distinctSet' ? { bound: 2 } : {}
      return { f: operators[family]!(operators[field], ...by, ...placed, window, options) }
    })
    return compileProject({ definitions: [{ file: 'm.ts', exports: { logins } }], bundleHashes: {} }).ok
  })
  const names = allowed.map(([name]) => name).join(', ')
  return WINDOW_SETS[names] ?? names
}

const OFFLINE = { exact: 'SQL', float: 'SQL to 1e-12', kernel: 'kernel' } as const

function offline(descriptor: AggregatorDescriptor, type: FieldType): string {
  const rows = { times: 'times', ids: 'ids', cells: 'cells', bys: 'bys', t: 't', lengthMs: 1000 }
  const bounded = descriptor.sqlHolds(rows, type, paramsOf(descriptor)) !== null
  return OFFLINE[descriptor.exactness] + (bounded ? ', past the bound kernel' : '')
}

/** What the page must say of an aggregator; the sentence on its exactness it quotes from the descriptor's `doc`. */
export function referenceOf(descriptor: AggregatorDescriptor): Reference {
  const { accepts, acceptsBy, make } = descriptor
  const taken = TYPES.filter(type => accepts(type))
  const kinds = taken.map(type => type.kind).join(' ')
  const by = acceptsBy(null) ? null : TYPES.find(type => acceptsBy(type))!
  const made = make(taken[0]!, paramsOf(descriptor), by)
  return {
    aggregator: signature(descriptor),
    takes: TAKES[kinds] ?? kinds,
    windows: windowsOf(descriptor),
    answers: answers(descriptor),
    empty: emptyText(made.result(made.empty(), { t: 0, lengthMs: 1000 })),
    offline: offline(descriptor, taken[0]!),
  }
}
