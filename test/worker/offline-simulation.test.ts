import { describe, expect, it } from 'vitest'
import { simulateOffline } from './offline-simulation.ts'
import type { WriterBugs } from './offline-simulation.ts'

const FIRST_SEED = Number(process.env['HEADWATER_SIMULATION_SEED'] ?? 1)
const SEEDS = Math.ceil(Number(process.env['HEADWATER_SIMULATION_SEEDS'] ?? 2_000) / 4)
const PLANTED_SEEDS = 500

const TO_BE_MET = [
  'insert acknowledgement lost',
  'insert refused before its effect',
  'insert timed out before its effect',
  'insert takes effect twice',
  'insert known by its token',
  'crash during insert',
  'crash during commit',
  'crash during append',
  'commit acknowledgement lost',
  'rebalance in mid-batch',
  'row refused',
  'row written again',
  'batch delivered again',
  'poison record',
]

describe('the offline writer under hostile schedules', () => {
  it(
    `writes a row of each record over ${SEEDS} seeds from ${FIRST_SEED}`,
    { timeout: 60_000 + SEEDS * 100 },
    async () => {
      const met = new Map<string, number>()
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
        const wrong = await simulateOffline(seed, {}, met).catch((error: unknown) => {
          throw new Error(`HEADWATER_SIMULATION_SEED=${seed}: the run failed`, { cause: error })
        })
        expect(wrong, `HEADWATER_SIMULATION_SEED=${seed}`).toEqual([])
      }
      if (SEEDS < PLANTED_SEEDS) return
      expect(TO_BE_MET.filter(what => (met.get(what) ?? 0) === 0)).toEqual([])
    },
  )

  it.each([
    ['an offset that is committed before its rows are written', { commitFirst: true }],
    ['rows that are taken for written before they are', { insertLater: true }],
  ] satisfies readonly (readonly [string, WriterBugs])[])('notices %s', async (_name, bugs) => {
    let found = false
    for (let seed = 1; seed <= PLANTED_SEEDS && !found; seed++) found = (await simulateOffline(seed, bugs)).length > 0
    expect(found).toBe(true)
  })
})
