import { describe, expect, it } from 'vitest'
import type { Met } from './simulated-scheduler.ts'
import { simulate } from './simulation.ts'

const FIRST_SEED = Number(process.env['HEADWATER_SIMULATION_SEED'] ?? 1)
const SEEDS = Number(process.env['HEADWATER_SIMULATION_SEEDS'] ?? 2_000)
const TIME_LIMIT_MS = 60_000 + SEEDS * 150
/** Fewer seeds do not meet everything. */
const ENOUGH_SEEDS = 500

const CALLS = [
  'initialise',
  'read canaries',
  'load',
  'flush',
  'append',
  'commit',
  'bounds',
  'read log',
  'read progress',
]

/** Every kind of fault, and what is only met when something has come of them. */
const TO_BE_MET: readonly string[] = [
  ...CALLS.flatMap(call => [
    `crash during ${call}`,
    `${call} refused before its effect`,
    `${call} acknowledgement lost`,
  ]),
  ...CALLS.map(call => `${call} timed out before its effect`),
  ...['initialise', 'flush', 'append', 'commit'].map(call => `${call} takes effect twice`),
  'command sent again to another server',
  'connection lost on the way',
  'server replaced, nothing lost',
  'store rolled back',
  'shards rolled back',
  'store emptied',
  'crash',
  'process frozen',
  'process thawed',
  'rebalance',
  'rebalance in mid-batch',
  'one of several owners at once',
  'flush of a process that lost the partition',
  'clock stepped back',
  'clock stepped forward',
  'topic recreated',
  'partition added',
  'records removed by retention',
  'records removed before they were counted',
  'tail of the log lost',
  'batch delivered again',
  'batch from before',
  'batch from further on',
  'event out of order',
  'id comes again',
  'record sent twice',
  'other partitioner',
  'poison record',
  'gap in the offsets',
  'commit',
  'entity read amid faults',
  'partition refused at the end',
  'partition read to its end',
  'feature_worker_restarts',
  'feature_worker_refused_sections',
  'feature_worker_duplicate_events',
  'feature_worker_conflicting_events',
  'feature_worker_late_events',
  'feature_worker_block_loads',
  'block written',
  'block dropped',
]

/** Runs the seeds of a half: those that are odd, or those that are even. */
export function describeSchedules(half: 'odd' | 'even'): void {
  const rest = half === 'odd' ? 1 : 0
  const seeds = Array.from({ length: SEEDS }, (_, index) => FIRST_SEED + index).filter(seed => seed % 2 === rest)

  describe(`the feature worker under hostile schedules, ${half} seeds`, () => {
    it(
      `counts each event once over ${seeds.length} seeds from ${seeds[0] ?? 0}`,
      { timeout: TIME_LIMIT_MS },
      async () => {
        const met: Met = new Map()
        const startedAt = performance.now()
        for (const seed of seeds) {
          const { wrong } = await simulate(seed, {}, met).catch((error: unknown) => {
            throw new Error(`HEADWATER_SIMULATION_SEED=${seed}: the run failed`, { cause: error })
          })
          expect(wrong, `HEADWATER_SIMULATION_SEED=${seed}`).toEqual([])
        }
        report(met, seeds.length, (performance.now() - startedAt) / 1_000)
        if (seeds.length < ENOUGH_SEEDS) return
        const never = TO_BE_MET.filter(what => (met.get(what) ?? 0) === 0)
        expect(never, 'what no seed has met').toEqual([])
        const most = (met.get('partition read to its end') ?? 0) / (met.get('partition refused at the end') ?? 1)
        expect(most, 'partitions read to their end for each that is refused').toBeGreaterThan(2)
      },
    )
  })
}

/** Says on the way what was met, when there is much of it. */
function report(met: Met, seeds: number, seconds: number): void {
  if (process.env['HEADWATER_SIMULATION_SEEDS'] === undefined) return
  const counts = [...met].filter(([, count]) => count > 0).sort(([a], [b]) => (a < b ? -1 : 1))
  const lines = counts.map(([what, count]) => `  ${String(count).padStart(9)} ${what}`)
  process.stdout.write(`${(seeds / seconds).toFixed(0)} seeds/s\n${lines.join('\n')}\n`)
}
