import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { runFault } from '../../load-tests/faults/run-fault.ts'
import { SCENARIOS } from '../../load-tests/faults/scenarios.ts'
import type { Scale } from '../../load-tests/faults/world.ts'
import { cacheFolder } from '../../services/cache-folder.ts'
import { describeWithKafka, describeWithRedis } from '../servers.ts'

const EVENTS = Number(process.env['HEADWATER_FAULT_EVENTS'] ?? 12_000)
const SEED = Number(process.env['HEADWATER_FAULT_SEED'] ?? 1)
const ONLY = process.env['HEADWATER_FAULT']
/** File for what a proof's run measured. */
const REPORT = process.env['HEADWATER_PROOF_REPORT']

const full = EVENTS >= 1_000_000
const scale: Scale = {
  events: EVENTS,
  eventsPerSecond: full ? 12_000 : 2_000,
  partitions: 12,
  workers: 3,
  pauseMs: full ? 5_000 : 2_000,
  outageMs: full ? 60_000 : 3_000,
}

describeWithRedis('faults of real servers and processes', () => {
  describeWithKafka('each event counts once', () => {
    const names = ONLY === undefined ? Object.keys(SCENARIOS) : ONLY.split(',')
    it.each(names.map(name => [name, SCENARIOS[name]?.about ?? 'no such scenario']))(
      `%s (%s), ${EVENTS} events, seed ${SEED}`,
      { timeout: 120_000 + EVENTS * 10 },
      async name => {
        const folder = mkdtempSync(join(tmpdir(), 'headwater-fault-'))
        const result = await runFault(name, { folder, cache: cacheFolder(), scale, seed: SEED })
        if (REPORT !== undefined) writeFileSync(REPORT, JSON.stringify(result))
        expect(result.wrong).toEqual([])
        expect(result.online.sections).toBeGreaterThan(100)
        expect(result.offline.events.expected).toBeGreaterThan(0)
        rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
      },
    )
  })
})
