import { describe, expect, it } from 'vitest'
import { entity, event, group, lastEvents, session, t, tumbling } from '../../features/define/index.ts'
import type { Feature, WindowLength } from '../../features/define/index.ts'
import {
  AGGREGATORS,
  applyPoint,
  emptySection,
  encodeSection,
  oracleRead,
  prepareReads,
} from '../../features/kernel/index.ts'
import type { LogRecord } from '../../features/kernel/index.ts'
import type { FieldType, TimeMs, UnitSpec, Value } from '../../features/kernel/types.ts'
import { syntheticEvent } from '../../features/plan/synthetic-events.ts'
import { bindPlan, EMPTY_CATALOGUE, placePlan } from '../../features/plan/units.ts'
import type { BoundFeature, BoundUnit } from '../../features/plan/units.ts'
import { projectOf } from './source.ts'

const FIELDS = {
  id: t.string(),
  at: t.timestamp(),
  card: t.string(),
  shop: t.string(),
  s: t.optional(t.string()),
  b: t.optional(t.boolean()),
  l: t.optional(t.int64()),
  d: t.optional(t.double()),
  m: t.optional(t.decimal(2)),
  v: t.optional(t.vector(2)),
}
const INPUTS: readonly (readonly [string, FieldType | null])[] = [
  ['', null],
  ['s', { kind: 'string' }],
  ['b', { kind: 'boolean' }],
  ['l', { kind: 'int64' }],
  ['d', { kind: 'double' }],
  ['m', { kind: 'decimal', scale: 2 }],
  ['v', { kind: 'vector', length: 2 }],
]
const PLACED: Readonly<Record<string, unknown>> = { n: 3, k: 3, q: 0.5, edges: [10, 100], categories: ['true', 'x'] }
const WINDOWS: readonly (readonly [string, WindowLength, object])[] = [
  ['sliding', '1h', {}],
  ['delayed', '1h', { delay: '10m' }],
  ['edged', '12h', { edge: '1h' }],
  ['tumbling', tumbling('1h'), {}],
  ['tumbled', tumbling('1h', { lookback: 2 }), {}],
  ['session', session('4m', { maxLength: '1h' }), {}],
  ['last', lastEvents(5), {}],
  ['last_within', lastEvents(5, { within: '10m' }), {}],
  ['lifetime', 'lifetime', {}],
]

type Loose = Readonly<Record<string, (...args: readonly unknown[]) => Feature>>

/** Every aggregator over every kind of field and window that it takes. */
function everything(e: Loose): Record<string, Feature> {
  const features: Record<string, Feature> = {}
  for (const { family, kind, params, accepts, acceptsBy } of AGGREGATORS) {
    const decays = 'halfLifeMs' in params
    const placed = Object.keys(params)
      .filter(name => name in PLACED)
      .map(name => PLACED[name])
    const by = acceptsBy(null) ? [] : [e['m']]
    for (const [field, type] of INPUTS) {
      if (!accepts(type)) continue
      for (const [name, window, options] of decays ? [['decay', '1h', {}] as const] : WINDOWS) {
        if (kind === 'concat' && ['edged', 'tumbled', 'lifetime'].includes(name)) continue
        if (family === 'rate' && typeof window !== 'string' && window.kind !== 'tumbling') continue
        if (family === 'rate' && name === 'lifetime') continue
        const own = family === 'distinctSet' ? { ...options, bound: 20 } : options
        const input = type === null ? [] : [e[field]]
        const label = `${family}_${field || 'rows'}_${name}`.replaceAll(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
        features[label] = e[family]!(...input, ...by, ...placed, window, own)
      }
    }
  }
  return features
}

const payment = event('payment', {
  topic: 'payments',
  id: 'id',
  time: 'at',
  key: 'card',
  lateness: '5m',
  partitions: 2,
  fields: FIELDS,
})
const START_MS = 1_700_000_000_000
const SPACING_MS = 97_000
const EVENTS = 160

function bound(key: 'card' | 'shop') {
  const all = group('all', { entity: entity(key, { key }), source: payment, key }, e => everything(e as never))
  const { plan } = projectOf({ all })
  const none = { incarnation: '', startOffsets: [], endOffsets: [] }
  const found = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, new Map([['payment', none]])))
  return { units: found.units, features: found.groups.get('all')?.features ?? [] }
}

/** Events of one entity on one partition or on two in turn. */
function logOf(spec: UnitSpec, partitions: number): readonly LogRecord[] {
  const { columns, filterCount } = spec
  const shape = { columns, filterCount, idType: { kind: 'string' }, idBytes: 12, textBytes: 3 } as const
  return Array.from({ length: EVENTS }, (_, index): LogRecord => {
    const point = syntheticEvent(shape, index, START_MS + index * SPACING_MS)
    const cells = point.cells.map((cell, column) => ((index + column) % 7 === 0 ? null : cell))
    return { partition: index % partitions, point: { ...point, cells } }
  })
}

function answers(unit: BoundUnit, features: readonly BoundFeature[], log: readonly LogRecord[], at: TimeMs): Value[] {
  const { spec } = unit
  const partitions = [...new Set(log.map(record => record.partition))]
  const stored = partitions.map(partition => {
    const state = emptySection(spec)
    const blocks = new Map<number, Uint8Array>()
    let bytes = new Uint8Array()
    for (const { point } of log.filter(record => record.partition === partition)) {
      expect(applyPoint(spec, state, point)).toBe('added')
      const image = encodeSection(spec, state)
      bytes = new Uint8Array(image.bytes)
      for (const block of image.blocks) blocks.set(block.id, block.bytes)
    }
    return { bytes, blocks }
  })
  const answer = prepareReads(
    spec,
    features.map(feature => feature.read),
  ).fromBytes(stored, at, null)
  if ('missing' in answer || answer.outOfRange) throw new Error('no answer')
  return answer.values
}

describe('the features of a plan', () => {
  it.each([
    ['card', 1],
    ['shop', 2],
  ] as const)('of every aggregator and window, by %s from %d partitions, are what their definition says', (key, n) => {
    const { units, features } = bound(key)
    expect(units.map(unit => unit.spec.edgeMs)).toEqual([0, 3_600_000, 0])
    expect(features.length).toBeGreaterThan(900)
    for (const unit of units) {
      const own = features.filter(feature => feature.unit === unit)
      const log = logOf(unit.spec, n)
      const newest = Math.max(...log.map(record => record.point.time))
      const reads = own.map(feature => feature.read)
      for (const at of [newest, newest - 200_000, newest + 240_001, newest + 3_600_000, newest + 30 * 86_400_000]) {
        const values = answers(unit, own, log, at)
        const expected = oracleRead(unit.spec, reads, log, at, null)
        own.forEach(({ plan }, index) => {
          expect(values[index], `${plan.name} at newest + ${at - newest}`).toEqual(expected?.[index])
          expect(typeFits(values[index] ?? null, plan.valueType), `${plan.name}: ${plan.valueType}`).toBe(true)
        })
      }
    }
  })
})

/** Whether a value is of a type as the plan writes it. */
function typeFits(value: Value, type: string): boolean {
  if (type.endsWith(' | null')) return value === null || typeFits(value, type.slice(0, -' | null'.length))
  const pairs = /^readonly \(readonly \[(\w+), number\]\)\[\]$/.exec(type)
  const lists = /^readonly \((.+)\)\[\]$/.exec(type)
  const list = /^readonly (\w+)\[\]$/.exec(type)
  if (pairs !== null) {
    const isPair = (each: unknown): boolean =>
      Array.isArray(each) && each.length === 2 && typeof each[0] === pairs[1] && typeof each[1] === 'number'
    return Array.isArray(value) && value.every(isPair)
  }
  if (lists !== null) return Array.isArray(value) && value.every(each => typeFits(each as Value, lists[1] ?? ''))
  if (list !== null) return Array.isArray(value) && value.every(each => typeof each === list[1])
  return typeof value === type
}
