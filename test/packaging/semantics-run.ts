import { isDeepStrictEqual } from 'node:util'
import { runInThisContext } from 'node:vm'
import { transformSync } from 'esbuild'
import * as authoring from '../../features/define/index.ts'
import type { Derived } from '../../features/define/index.ts'
import { definitionKind } from '../../features/define/marks.ts'
import {
  addBlock,
  applyPoint,
  blocksForPoint,
  decodeSection,
  DIRECTORY_BLOCK,
  emptySection,
  encodeSection,
  oracleRead,
  oracleVerdicts,
  prepareReads,
} from '../../features/kernel/index.ts'
import type { LogRecord } from '../../features/kernel/index.ts'
import type { Input, Point, TimeMs, UnitSpec, Value } from '../../features/kernel/types.ts'
import { compileProject } from '../../features/plan/compile.ts'
import type { Project } from '../../features/plan/compile.ts'
import { authorValues, decodeFields } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import { bindPlan, EMPTY_CATALOGUE, placePlan } from '../../features/plan/units.ts'
import type { BoundFeature, BoundUnit } from '../../features/plan/units.ts'
import { COLLECT } from '../offline/feature-compare.ts'
import { instantOf, literalOf } from './semantics-page.ts'
import type { Call, Calls, Example, Row } from './semantics-page.ts'

const VERDICTS = { added: 'counts', late: 'late', duplicate: 'duplicate', conflict: 'conflict' } as const
const NOT_IN_LOG = 'not yet'
/** What stands in the place of a value where the read is refused. */
export const OUT_OF_RANGE = 'out of range'
const THE_ONE_ENTITY = 'c1'

/** A row of the table of events. `verdict` is what the page says becomes of it. */
interface Logged {
  readonly row: Row
  readonly partition: number
  readonly verdict: string
  readonly event: DecodedEvent
}

/** One read of an entity by an example. */
export interface Read {
  readonly row: Row
  readonly entity: string
  readonly t: TimeMs
  readonly self: DecodedEvent | null
  /** What the page says, by feature. */
  readonly stated: ReadonlyMap<string, string>
}

/** An example of the page, compiled, with its log and reads. */
export interface Prepared {
  readonly example: Example
  readonly source: SourcePlan
  readonly features: readonly BoundFeature[]
  /** The events of an entity that count by the definition, in the order of the log. */
  accepted(entity: string): readonly DecodedEvent[]
  /** The entities that events of the log concern. */
  readonly entities: readonly string[]
  readonly reads: readonly Read[]
  readonly derived: ReadonlyMap<string, Derived<never, authoring.DerivedValue>>
  readonly log: readonly Logged[]
  readonly groups: ReadonlyMap<string, readonly BoundFeature[]>
}

/** What a block exports when it runs behind the definitions that all blocks share. */
function exportsOf(preamble: string, code: string): Readonly<Record<string, unknown>> {
  const { code: script } = transformSync(`${preamble}\n${code}`, { loader: 'ts', format: 'cjs' })
  const module: { exports: Readonly<Record<string, unknown>> } = { exports: {} }
  const require = (name: string): unknown => {
    if (name === 'headwater') return authoring
    throw new RangeError(`examples import from 'headwater', not from '${name}'`)
  }
  const run = runInThisContext(`(function (module, require) {${script}\n})`) as (...args: readonly unknown[]) => void
  run(module, require)
  return module.exports
}

function projectOf(exports: Readonly<Record<string, unknown>>): Project {
  const compiled = compileProject({
    definitions: [{ file: 'example.ts', exports }],
    bundleHashes: { 'example.ts': '0'.repeat(64) },
  })
  if (compiled.ok) return compiled.project
  throw new RangeError(compiled.problems.map(({ code, where, message }) => `${code} ${where}: ${message}`).join('\n'))
}

/** Compiles an example and reads its tables. Throws `RangeError` for what cannot be understood. */
export function prepare(preamble: string, example: Example): Prepared {
  const exports = exportsOf(preamble, example.code.text)
  const { plan } = projectOf(exports)
  const none = { incarnation: '', startOffsets: [], endOffsets: [] }
  const catalogue = placePlan(plan, EMPTY_CATALOGUE, new Map(plan.sources.map(source => [source.name, none])))
  const bound = bindPlan(plan, catalogue)
  const groups = new Map([...bound.groups].map(([name, group]) => [name, group.features]))
  const features = [...groups.values()].flat()
  const unit = features[0]!.unit
  const log = example.events.rows.map(row => loggedOf(unit.source, row))
  const entities = [...new Set(log.flatMap(({ event }) => unit.entityId(event) ?? []))]
  const derived = new Map(
    Object.entries(exports).filter(
      (entry): entry is [string, Derived<never, authoring.DerivedValue>] => definitionKind(entry[1]) === 'derived',
    ),
  )
  const reads = example.reads.rows.map(row => readOf(row, entities, log))
  const names = [...features.map(feature => feature.plan.name), ...derived.keys()]
  for (const name of reads[0]?.stated.keys() ?? []) {
    if (!names.includes(name)) throw new RangeError(`line ${example.reads.line}: the example defines no ${name}`)
  }
  return {
    example,
    source: unit.source,
    features,
    accepted: entity =>
      judged(unit, entity, log)
        .filter(each => each.verdict === 'added')
        .map(each => each.logged.event),
    entities,
    reads,
    derived,
    log,
    groups,
  }
}

function loggedOf(source: SourcePlan, row: Row): Logged {
  const fields: Record<string, unknown> = {}
  for (const { name, type, optional } of source.fields) {
    const cell = row.cells.get(name === source.idField ? 'event' : name) ?? ''
    if (cell !== '') fields[name] = fieldOf(type.kind, cell)
    else if (!optional) fields[name] = THE_ONE_ENTITY
  }
  const known = ['event', 'partition', 'log', ...source.fields.map(field => field.name)]
  const stray = [...row.cells.keys()].find(name => !known.includes(name))
  if (stray !== undefined) throw new RangeError(`line ${row.line}: event "${source.name}" has no field ${stray}`)
  const decoded = decodeFields(source, fields, null)
  if (!decoded.ok) throw new RangeError(`line ${row.line}: ${decoded.reason}`)
  return {
    row,
    partition: Number(row.cells.get('partition') || 0),
    verdict: row.cells.get('log') || VERDICTS.added,
    event: decoded.event,
  }
}

function fieldOf(kind: string, cell: string): unknown {
  if (kind === 'string') return cell.startsWith('"') ? literalOf(cell) : cell
  if (kind === 'timestamp') return instantOf(cell)
  return literalOf(kind === 'int64' ? `${cell}n` : cell)
}

const READ_COLUMNS = ['read at', 'scored', 'entity']

function readOf(row: Row, entities: readonly string[], log: readonly Logged[]): Read {
  const scored = row.cells.get('scored') ?? ''
  const self = scored === '' ? null : log.find(({ event }) => event.id === scored)?.event
  if (self === undefined) throw new RangeError(`line ${row.line}: no event is called ${scored}`)
  const at = row.cells.get('read at') ?? ''
  if (at === '' && self === null) throw new RangeError(`line ${row.line}: neither an instant nor an event to score`)
  const entity = row.cells.get('entity') ?? (entities.length === 1 ? entities[0] : undefined)
  if (entity === undefined) throw new RangeError(`line ${row.line}: say of which entity, ${entities.join(' or ')}`)
  return {
    row,
    entity,
    t: at === '' ? self!.time : instantOf(at),
    self,
    stated: new Map([...row.cells].filter(([name]) => !READ_COLUMNS.includes(name))),
  }
}

interface Judged {
  readonly logged: Logged
  readonly record: LogRecord
  readonly verdict: keyof typeof VERDICTS
}

/** The log of one entity as a unit keeps it, judged by the definition. */
function judged(unit: BoundUnit, entity: string, log: readonly Logged[]): readonly Judged[] {
  const own = log.filter(({ event, verdict }) => verdict !== NOT_IN_LOG && unit.entityId(event) === entity)
  const records = own.map(({ partition, event }): LogRecord => ({ partition, point: unit.project(event) }))
  const verdicts = oracleVerdicts(unit.spec, records)
  return own.map((logged, index) => ({ logged, record: records[index]!, verdict: verdicts[index]! }))
}

function acceptedRecords(unit: BoundUnit, entity: string, log: readonly Logged[]): readonly LogRecord[] {
  return judged(unit, entity, log).flatMap(each => (each.verdict === 'added' ? [each.record] : []))
}

interface Stored {
  readonly bytes: Uint8Array
  readonly blocks: ReadonlyMap<number, Uint8Array>
}

/** Sections by partition, encoded and read again after every record; `verdicts` in the order of the records. */
function store(spec: UnitSpec, records: readonly LogRecord[]): { sections: readonly Stored[]; verdicts: string[] } {
  const sections = new Map<number, Stored & { blocks: Map<number, Uint8Array> }>()
  const verdicts = records.map(({ partition, point }) => {
    const before = sections.get(partition)
    const blocks = before?.blocks ?? new Map<number, Uint8Array>()
    const state =
      before === undefined ? emptySection(spec) : decodeSection(spec, before.bytes, blocks.get(DIRECTORY_BLOCK))
    for (let needed = blocksForPoint(spec, state, point.time); needed.length > 0;) {
      for (const id of needed) addBlock(spec, state, id, blocks.get(id)!)
      needed = blocksForPoint(spec, state, point.time)
    }
    const verdict = applyPoint(spec, state, point)
    const image = encodeSection(spec, state)
    for (const block of image.blocks) blocks.set(block.id, block.bytes)
    sections.set(partition, { bytes: new Uint8Array(image.bytes), blocks })
    return verdict
  })
  return { sections: [...sections.values()], verdicts }
}

/** The answer of one way to compute, or what it says instead of one. */
export type Answer = { readonly values: readonly Value[] } | typeof OUT_OF_RANGE

/** What computes the features of a read, in the order of `features`. */
export type Way = (prepared: Prepared, features: readonly BoundFeature[], read: Read) => Answer

const pointOf = (unit: BoundUnit, event: DecodedEvent | null): Point | null =>
  event === null ? null : unit.project(event)

/** By the definition. */
export const byOracle: Way = ({ log }, features, { entity, t, self }) => {
  const { unit } = features[0]!
  const accepted = acceptedRecords(unit, entity, log)
  const reads = features.map(feature => feature.read)
  const values = oracleRead(unit.spec, reads, accepted, t, pointOf(unit, self))
  return values === null ? OUT_OF_RANGE : { values }
}

/** From stored sections. */
export const byStorage: Way = ({ log }, features, { entity, t, self }) => {
  const { unit } = features[0]!
  const records = judged(unit, entity, log).map(each => each.record)
  const { sections } = store(unit.spec, records)
  const reads = prepareReads(
    unit.spec,
    features.map(feature => feature.read),
  )
  const answer = reads.fromBytes(sections, t, pointOf(unit, self))
  if ('missing' in answer) throw new RangeError(`blocks ${answer.missing.join(', ')} are not stored`)
  return answer.outOfRange ? OUT_OF_RANGE : { values: answer.values }
}

/** The rows of a feature's window by the definition. */
export function rowsOf(prepared: Prepared, feature: BoundFeature, read: Read): readonly Input[] {
  const partials = feature.unit.spec.partials.map(partial => ({ ...partial, aggregator: COLLECT }))
  const accepted = acceptedRecords(feature.unit, read.entity, prepared.log)
  const collecting = { ...feature.read, whenEmpty: null }
  const self = pointOf(feature.unit, read.self)
  const [rows] = oracleRead({ ...feature.unit.spec, partials }, [collecting], accepted, read.t, self) ?? [[]]
  return rows as unknown as readonly Input[]
}

/** Features by the unit that keeps them, in order. */
function byUnit(features: readonly BoundFeature[]): readonly (readonly BoundFeature[])[] {
  return [...new Set(features.map(feature => feature.unit))].map(unit => features.filter(each => each.unit === unit))
}

/** Whether a value is what a cell says; `≈ 0.33` is any number that rounds to it. */
export function agrees(stated: string, value: unknown): boolean {
  const about = /^≈ (-?\d+(?:\.(\d+))?)$/.exec(stated)
  if (about === null) return isDeepStrictEqual(literalOf(stated), value)
  const half = 0.5 * 10 ** -(about[2]?.length ?? 0)
  return typeof value === 'number' && Math.abs(value - Number(about[1])) <= half
}

function shown(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`
  if (Array.isArray(value)) return `[${value.map(shown).join(', ')}]`
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

/** What the page says of the features of one way, and of the derived ones over them, that is not so. */
export function wrongReads(prepared: Prepared, name: string, way: Way): readonly string[] {
  const wrong: string[] = []
  for (const read of prepared.reads) {
    const values = new Map<BoundFeature, Value>()
    const outOfRange = new Set<BoundFeature>()
    for (const features of byUnit(prepared.features)) {
      const answer = way(prepared, features, read)
      features.forEach((feature, index) => {
        if (answer === OUT_OF_RANGE) outOfRange.add(feature)
        else values.set(feature, answer.values[index] ?? null)
      })
    }
    for (const [column, stated] of read.stated) {
      const feature = prepared.features.find(each => each.plan.name === column)
      const isOut = feature !== undefined && outOfRange.has(feature)
      const value = feature === undefined ? derivedValue(prepared, column, read, values) : values.get(feature)
      if (isOut ? stated === OUT_OF_RANGE : stated !== OUT_OF_RANGE && agrees(stated, value)) continue
      const found = isOut ? OUT_OF_RANGE : shown(value)
      wrong.push(`line ${read.row.line}, ${prepared.example.heading}: ${column} is ${found} by ${name}, not ${stated}`)
    }
  }
  return wrong
}

function derivedValue(
  { derived, groups, source }: Prepared,
  name: string,
  { self }: Read,
  values: ReadonlyMap<BoundFeature, Value>,
): unknown {
  const view: Record<string, unknown> = { request: self === null ? {} : authorValues(source, self) }
  for (const [group, features] of groups) {
    view[group] = Object.fromEntries(features.map(feature => [feature.plan.name, values.get(feature) ?? null]))
  }
  return derived.get(name)!(view as never)
}

/** What the page says of the fate of events that is not so, by the definition and in storage. */
export function wrongVerdicts({ example, features, entities, log }: Prepared): readonly string[] {
  const wrong: string[] = []
  for (const { unit } of byUnit(features).map(each => each[0]!)) {
    for (const entity of entities) {
      const own = judged(unit, entity, log)
      const { verdicts } = store(
        unit.spec,
        own.map(each => each.record),
      )
      own.forEach(({ logged, verdict }, index) => {
        const { row, verdict: stated } = logged
        const ways = { definition: verdict, storage: verdicts[index] as keyof typeof VERDICTS }
        for (const [way, found] of Object.entries(ways)) {
          if (VERDICTS[found] === stated) continue
          wrong.push(`line ${row.line}, ${example.heading}: the event ${VERDICTS[found]} by ${way}, not ${stated}`)
        }
      })
    }
  }
  return wrong
}

/** The value of a call of a block, behind the definitions that all blocks share. */
export function callValue(preamble: string, { code }: Calls, { expression }: Call): unknown {
  const imports = code.text.split('\n').filter(line => line.startsWith('import '))
  return exportsOf(preamble, `${imports.join('\n')}\nexport const value = ${expression}`)['value']
}
