import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { assessDrift } from '../../topology/monitoring/drift-assess.ts'
import { checkReferences, countScore, listCounts, openCounts } from '../../topology/monitoring/drift-counts.ts'
import type { FeatureCounts, Manifests } from '../../topology/monitoring/drift-counts.ts'
import { decodeScoredInputs } from '../../topology/monitoring/drift-monitor.ts'
import {
  driftCommitOffset,
  MINUTE_MS,
  newDriftPartition,
  openMinuteRows,
  stepDrift,
} from '../../topology/monitoring/drift-step.ts'
import type { DriftCountRow, DriftPartition, ScoredRecord } from '../../topology/monitoring/drift-step.ts'
import { manifest } from './manifest.ts'

const manifests: Manifests = new Map([
  ['fraud@1', manifest('1')],
  ['fraud@2', manifest('2')],
])

const record = fc.record({
  gapMs: fc.integer({ min: 0, max: 40_000 }),
  skip: fc.integer({ min: 1, max: 3 }),
  scored: fc.option(
    fc.record({
      model: fc.constantFrom('fraud', 'other', null),
      modelVersion: fc.constantFrom('1', '2'),
      score: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
      inputs: fc.record(
        { 'request.amount': fc.option(fc.double({ min: -1, max: 500 })), 'card_activity.payments_1h': fc.nat(9) },
        { requiredKeys: [] },
      ),
    }),
    { freq: 10 },
  ),
})

function laidOut(items: readonly { gapMs: number; skip: number; scored: ScoredRecord['scored'] }[]): ScoredRecord[] {
  let offset = 3
  let arrivalMs = 1_700_000_000_000
  return items.map(item => {
    offset += item.skip
    arrivalMs += item.gapMs
    return { offset, arrivalMs, scored: item.scored }
  })
}

/** What the table keeps: of each key the row with the largest last offset. */
function keep(table: Map<string, DriftCountRow>, rows: readonly DriftCountRow[]): void {
  for (const row of rows) {
    const key = [row.model, row.model_version, row.feature, row.minute_ms, row.partition].join('|')
    const present = table.get(key)
    if (present === undefined || row.last_offset >= present.last_offset) table.set(key, row)
  }
}

function summed(rows: Iterable<DriftCountRow>): ReadonlyMap<string, readonly number[]> {
  const sums = new Map<string, number[]>()
  for (const row of rows) {
    const key = `${row.model}@${row.model_version} ${row.feature}`
    const values = [...row.bins, row.missing]
    const sum = sums.get(key) ?? values.map(() => 0)
    sums.set(
      key,
      sum.map((value, i) => value + (values[i] ?? 0)),
    )
  }
  return sums
}

function direct(records: readonly ScoredRecord[]): ReadonlyMap<string, readonly number[]> {
  const counts = openCounts(new Map())
  for (const { scored } of records) if (scored !== null) countScore(counts, manifests, scored)
  return new Map(
    listCounts(counts, manifests).map(c => [`${c.model}@${c.version} ${c.feature}`, [...c.bins, c.missing]]),
  )
}

describe('stepDrift', { timeout: 60_000 }, () => {
  it('stores each record once, whatever the batches, redeliveries, flushes and crashes', () => {
    const actions = fc.array(
      fc.record({
        size: fc.integer({ min: 1, max: 9 }),
        flush: fc.boolean(),
        crash: fc.boolean(),
        redeliver: fc.boolean(),
      }),
      { minLength: 1, maxLength: 20 },
    )
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 80 }), actions, (items, plan) => {
        const records = laidOut(items)
        const table = new Map<string, DriftCountRow>()
        let committed = 0
        let state: DriftPartition = newDriftPartition(2)
        let pending: readonly DriftCountRow[] = []
        let at = 0
        const store = () => {
          keep(table, [...pending, ...openMinuteRows(state, manifests)])
          pending = []
        }
        const advance = (size: number) => {
          const stepped = stepDrift(state, records.slice(at, at + size), manifests)
          pending = [...pending, ...stepped.effects.closed]
          state = stepped.state
          at += size
        }
        for (const action of plan) {
          advance(action.size)
          if (action.redeliver) {
            at = Math.max(0, at - action.size)
            advance(action.size)
          }
          if (action.flush) {
            store()
            if (!action.crash) committed = driftCommitOffset(state) ?? committed
          }
          if (action.crash) {
            state = newDriftPartition(2)
            pending = []
            at = records.findIndex(each => each.offset >= committed)
          }
        }
        advance(records.length)
        store()
        expect(summed(table.values())).toEqual(direct(records))
      }),
      { numRuns: 1500 },
    )
  })

  it('changes no argument and answers the same again', () => {
    const records = laidOut([
      { gapMs: 0, skip: 1, scored: { model: 'fraud', modelVersion: '1', score: 0.2, inputs: { 'request.amount': 4 } } },
      { gapMs: 1, skip: 1, scored: { model: 'fraud', modelVersion: '1', score: 0.9, inputs: {} } },
    ])
    const first = stepDrift(newDriftPartition(0), records.slice(0, 1), manifests).state
    const before = structuredClone(first)
    const once = stepDrift(first, records.slice(1), manifests)
    expect(first).toEqual(before)
    expect(stepDrift(first, records.slice(1), manifests)).toEqual(once)
  })

  it('closes a minute with the first record of a later one, and commits to the open one', () => {
    const scored = { model: 'fraud', modelVersion: '1', score: 0.5, inputs: { 'request.amount': 1000 } }
    const records = [
      { offset: 10, arrivalMs: 5 * MINUTE_MS, scored },
      { offset: 11, arrivalMs: 6 * MINUTE_MS - 1, scored: null },
      { offset: 12, arrivalMs: 6 * MINUTE_MS, scored: { ...scored, modelVersion: '9' } },
    ]
    const { state, effects } = stepDrift(newDriftPartition(1), records, manifests)
    expect(effects).toMatchObject({ counted: 1, undecodable: 1, unknownModel: 1 })
    expect(effects.closed).toHaveLength(3)
    expect(effects.closed[0]).toEqual({
      model: 'fraud',
      model_version: '1',
      feature: 'request.amount',
      minute_ms: 5 * MINUTE_MS,
      partition: 1,
      bins: [0, 0, 0, 1],
      missing: 0,
      last_offset: 11,
    })
    expect(driftCommitOffset(state)).toBe(12)
    expect(openMinuteRows(state, manifests)).toEqual([])
  })
})

describe('references', () => {
  it('are refused with model and feature named', () => {
    const broken = (change: object) => {
      const good = manifest('1')
      const [first, ...rest] = good.reference
      return new Map([['fraud@1', { ...good, reference: [{ ...first, ...change } as (typeof rest)[number], ...rest] }]])
    }
    expect(() => checkReferences(broken({ edges: [1, 1, 2] }))).toThrow(/fraud@1, reference of request.amount: edges/)
    expect(() => checkReferences(broken({ edges: [1, Number.NaN] }))).toThrow(/finite and ascend/)
    expect(() => checkReferences(broken({ counts: [1, 2] }))).toThrow(/2 counts for 3 edges/)
    expect(() => checkReferences(broken({ feature: 'score' }))).toThrow(/appears twice/)
    expect(() => checkReferences(new Map())).not.toThrow()
  })
})

describe('decodeScoredInputs', () => {
  const decode = (text: string) => decodeScoredInputs(new TextEncoder().encode(text))
  it('reads what drift needs and refuses the rest', () => {
    expect(decode('{"model":"fraud","modelVersion":"1","score":0.5,"inputs":{"a":1,"b":null},"more":[]}')).toEqual({
      model: 'fraud',
      modelVersion: '1',
      score: 0.5,
      inputs: { a: 1, b: null },
    })
    for (const bad of [
      '',
      '{',
      '[]',
      'null',
      '{"model":"fraud"}',
      '{"model":1,"modelVersion":"1","score":0,"inputs":{}}',
    ]) {
      expect(decode(bad)).toBeNull()
    }
    expect(decode('{"model":"m","modelVersion":"1","score":0,"inputs":{"a":"x"}}')).toBeNull()
    expect(decodeScoredInputs(new Uint8Array([0xff, 0xfe]))).toBeNull()
  })
})

describe('assessDrift', () => {
  const counts = (feature: string, bins: readonly number[], missing = 0): FeatureCounts => ({
    model: 'fraud',
    version: '1',
    feature,
    bins,
    missing,
  })

  it('alerts on what is large and significant, on enough rows', () => {
    const findings = assessDrift(
      [
        counts('request.amount', [10, 100, 300, 590]),
        counts('card_activity.payments_1h', [0, 640, 360]),
        counts('score', [900, 100]),
      ],
      manifests,
    )
    expect(findings.map(f => [f.feature, f.verdict])).toEqual([
      ['request.amount', 'alert'],
      ['card_activity.payments_1h', 'stable'],
      ['score', 'stable'],
    ])
    expect(findings[0]?.direction).toBeGreaterThan(0.3)
  })

  it('says nothing on few rows, and sees values go missing', () => {
    expect(assessDrift([counts('request.amount', [0, 0, 0, 499])], manifests)[0]?.verdict).toBe('too_few')
    const lost = assessDrift([counts('card_activity.payments_1h', [0, 560, 340], 100)], manifests)
    expect(lost[0]).toMatchObject({ verdict: 'alert', missingCurrent: 0.1, missingReference: 0 })
  })

  it('leaves out counts over other edges and unknown models', () => {
    expect(assessDrift([counts('request.amount', [1, 2])], manifests)).toEqual([])
    expect(assessDrift([{ ...counts('score', [1, 2]), version: '7' }], manifests)).toEqual([])
  })
})
