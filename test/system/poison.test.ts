import { afterAll, describe, expect, it } from 'vitest'
import { DECODE_ERRORS } from '../../features/plan/event.ts'
import { random } from '../worker/simulated-ports.ts'
import { temporaryFolder } from './headwater.ts'
import { MAX_RECORD_BYTES, SEED, expectPoisonIsSetApart } from './poison-check.ts'
import { poisonRecords } from './poison-records.ts'
import type { Transfer } from './poison-records.ts'
import { makeTransfers, startPoisonWorld } from './poison-world.ts'

/** Refusals that only records in Avro can meet. */
const OF_AVRO: ReadonlySet<string> = new Set(['NOT_AVRO', 'UNKNOWN_SCHEMA', 'SCHEMA_NOT_READABLE'])

describe('poison records', () => {
  it('are of more than 25 kinds, with every code among them', () => {
    const base = makeTransfers(random(SEED), 1, Date.now())[0] as Transfer
    const kinds = poisonRecords({ ...base, transfer_id: 'gp' }, MAX_RECORD_BYTES)
    expect(kinds.length).toBeGreaterThan(60)
    const codes = new Set<string>(kinds.map(({ code }) => code))
    const inJson = Object.keys(DECODE_ERRORS).filter(code => !OF_AVRO.has(code))
    expect(inJson.filter(code => !codes.has(code))).toEqual([])
  })

  describe('over the embedded engines', () => {
    const folder = temporaryFolder()
    afterAll(() => folder.remove())
    it('go to the dead letters, each once with its reason, and leave their neighbours alone', async () => {
      const world = await startPoisonWorld(folder.path, { 'eventLog.maxRecordBytes': String(MAX_RECORD_BYTES) })
      try {
        await expectPoisonIsSetApart(world)
      } finally {
        await world.stop()
      }
    })
  })
})
