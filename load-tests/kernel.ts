import { applyPoint, emptySection, encodeSection } from '../features/kernel/index.ts'
import type { SectionState } from '../features/kernel/index.ts'
import type { Point } from '../features/kernel/types.ts'
import { readUnit } from '../features/kernel/read.ts'
import { benchPlan, benchPayments } from './workload.ts'
import { bestRate, plainRow, ratioRow } from './rows.ts'
import type { BenchRow } from './rows.ts'

const EVENTS = 200_000
const ENTITIES = 10_000

/** The least that any exact sliding window must do: keep each entity's events in order of time. */
function plainLoop(points: readonly Point[], keys: readonly string[]): Map<string, { times: number[]; rows: Point[] }> {
  const state = new Map<string, { times: number[]; rows: Point[] }>()
  for (let i = 0; i < points.length; i++) {
    const point = points[i] as Point
    const key = keys[i] as string
    let entity = state.get(key)
    if (entity === undefined) state.set(key, (entity = { times: [], rows: [] }))
    let at = entity.times.length
    while (at > 0 && (entity.times[at - 1] as number) > point.time) at--
    entity.times.splice(at, 0, point.time)
    entity.rows.splice(at, 0, point)
  }
  return state
}

/** Applying events and reading features, in memory. */
export async function benchKernel(): Promise<readonly BenchRow[]> {
  const { bound, decode } = benchPlan()
  const unit = bound.units.find(u => u.entity === 'card')
  if (unit === undefined) throw new Error('the plan has no unit of cards')
  const events = benchPayments(EVENTS, ENTITIES).map(decode)
  const points = events.map(event => unit.project(event))
  const keys = events.map(event => unit.entityId(event) ?? '')
  let states = new Map<string, SectionState>()
  const kernel = await bestRate(3, EVENTS, () => {
    states = new Map()
    for (let i = 0; i < points.length; i++) {
      const key = keys[i] as string
      let state = states.get(key)
      if (state === undefined) states.set(key, (state = emptySection(unit.spec)))
      applyPoint(unit.spec, state, points[i] as Point)
    }
  })
  const plain = await bestRate(3, EVENTS, () => void plainLoop(points, keys))
  const sections = [...states.values()].slice(0, 2_000).map(state => encodeSection(unit.spec, state))
  const reads = [...bound.groups.values()].flatMap(group =>
    group.features.filter(f => f.unit === unit).map(f => f.read),
  )
  const t = points.reduce((latest, point) => Math.max(latest, point.time), 0)
  const reading = await bestRate(3, sections.length, () => {
    for (const section of sections) readUnit(unit.spec, reads, [section], t, null)
  })
  const bytes = sections.reduce((sum, section) => sum + section.length, 0) / sections.length
  return [
    ratioRow('kernel: events applied, against a plain loop that keeps them in order', kernel, 'events/s', plain),
    plainRow(`kernel: reads of ${reads.length} features of one entity`, reading, 'reads/s'),
    plainRow('kernel: mean bytes of a stored entity', bytes, 'bytes'),
  ]
}
