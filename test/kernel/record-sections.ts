import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AGGREGATORS, SECTION_VERSION, makeAggregator } from '../../features/kernel/index.ts'
import type { FieldType, Window } from '../../features/kernel/types.ts'
import { FAMILY_PARAMS } from './family-params.ts'
import { diceOf, hex, pointOf } from './logs.ts'
import { pointFrom, toJson, unitOf } from './recorded-units.ts'
import type { RecordedPoint, RecordedUnit } from './recorded-units.ts'
import { StoredUnit, readStored } from './stored.ts'

/*
 * Records what this version of the kernel stores, for `recorded-sections.test.ts` of this version and all later ones:
 *
 *   node test/kernel/record-sections.ts
 *
 * A file that is there already is never written again: bytes that were once stored must stay readable as they are.
 */

const COLUMNS: readonly FieldType[] = [
  { kind: 'int' },
  { kind: 'int64' },
  { kind: 'double' },
  { kind: 'decimal', scale: 2 },
  { kind: 'string' },
  { kind: 'boolean' },
  { kind: 'timestamp' },
  { kind: 'vector', length: 2 },
]

const WINDOWS: readonly Window[] = [
  { kind: 'sliding', lengthMs: 200, delayMs: 0, edgeMs: 0 },
  { kind: 'session', gapMs: 5, maxLengthMs: 150, delayMs: 0 },
  { kind: 'lastEvents', count: 5, withinMs: 200, delayMs: 0 },
]
const LAYOUT = { levelsMs: [4, 16, 64], leafPoints: 6, blockPoints: 3 }

/** Every family over its first two input types, whole and in the windows that wrap it. */
function unitsOfFamilies(): RecordedUnit[] {
  return AGGREGATORS.map(descriptor => {
    const at = [-1, ...COLUMNS.keys()]
    const typeAt = (column: number): FieldType | null => (column < 0 ? null : COLUMNS[column]!)
    const inputs = at.filter(column => descriptor.accepts(typeAt(column))).slice(0, 2)
    const bys = at.filter(column => descriptor.acceptsBy(typeAt(column))).slice(0, 1)
    const params = (FAMILY_PARAMS[descriptor.family] ?? [{}]).slice(0, 2)
    const wrap = descriptor.family !== 'rate' && !descriptor.family.startsWith('decayed')
    const partials = params.flatMap(param =>
      inputs.flatMap(column =>
        bys.flatMap(by =>
          (wrap && column === inputs[0] && param === params[0] ? WINDOWS : WINDOWS.slice(0, 1)).map(window => {
            const { halfLifeMs } = param
            const decay = { kind: 'decay', halfLifeMs: Number(halfLifeMs), delayMs: 0 } as const
            const read = halfLifeMs === undefined ? window : decay
            const lifetime = halfLifeMs !== undefined
            return { family: descriptor.family, params: param, column, by, filter: -1, lifetime, window: read }
          }),
        ),
      ),
    )
    const retentionMs = 230
    return {
      columns: COLUMNS,
      filterCount: 1,
      partials,
      latenessMs: 20,
      horizonMs: 30,
      retentionMs,
      edgeMs: 0,
      rawMs: retentionMs,
      layout: LAYOUT,
    }
  })
}

/** A unit with an edge and one with a lifetime window, so that sealed tiles and base states are among the bytes. */
function otherUnits(): RecordedUnit[] {
  const common = { columns: COLUMNS, filterCount: 3, latenessMs: 20, horizonMs: 30, layout: LAYOUT }
  const partial = { params: {}, column: 3, by: -1 }
  const edged: Window = { kind: 'sliding', lengthMs: 200, delayMs: 0, edgeMs: 16 }
  const tumbling: Window = { kind: 'tumbling', lengthMs: 64, lookback: 1, delayMs: 0 }
  const lifetime: Window = { kind: 'lifetime', delayMs: 0 }
  return [
    {
      ...common,
      partials: [
        { ...partial, family: 'sum', filter: 2, lifetime: false, window: edged },
        { ...partial, family: 'max', filter: -1, lifetime: false, window: tumbling },
      ],
      retentionMs: 250,
      edgeMs: 16,
      rawMs: 30,
    },
    {
      ...common,
      partials: [
        { ...partial, family: 'mean', filter: 0, lifetime: true, window: lifetime },
        { ...partial, family: 'last', filter: -1, lifetime: true, window: lifetime },
      ],
      retentionMs: 30,
      edgeMs: 0,
      rawMs: 30,
    },
  ]
}

function record(unit: RecordedUnit, seed: number): unknown {
  const { spec, reads } = unitOf(unit)
  const dice = diceOf(seed)
  const store = new StoredUnit(spec)
  const points: RecordedPoint[] = []
  let time = -100
  for (let made = 0; made < 70; made++) {
    time += dice.integer(0, 7)
    const { id, mask, cells } = pointOf(dice, spec, time, `${dice.pick(['p', 'é', ''])}${made}`)
    points.push([time, id, mask, cells])
    store.apply(pointFrom(points[made]!))
    if (dice.chance(0.3)) store.flush()
  }
  store.flush()
  const answers = [time - 30, time, time + 40].map(t => ({
    t,
    answer: readStored(spec, reads, [store], t, null).answer,
  }))
  const versions = unit.partials.map(({ family, params, column, by }) => {
    const type = column < 0 ? null : unit.columns[column]!
    return makeAggregator(family, params, type, by < 0 ? null : unit.columns[by]!).version
  })
  const blocks = [...store.blocks].sort(([a], [b]) => a - b).map(([id, bytes]) => [id, hex(bytes)])
  return { unit, versions, points, head: hex(store.bytes), blocks, answers }
}

const path = join(import.meta.dirname, 'recorded', `sections-v${SECTION_VERSION}.json`)
if (existsSync(path)) {
  process.stderr.write(`${path} is there already: what was recorded stays as it is\n`)
  process.exitCode = 1
} else {
  const recorded = [...unitsOfFamilies(), ...otherUnits()].map((unit, index) => toJson(record(unit, 1 + index)))
  writeFileSync(path, `[\n${recorded.join(',\n')}\n]\n`)
  process.stdout.write(`${recorded.length} units recorded in ${path}\n`)
}
