import { beforeEach, describe, expect, it } from 'vitest'
import type { EventLog } from '../../topology/ports/event-log.ts'
import { bytes, fresh, numbered, recorder, text, eventLogContext } from './event-log-harness.ts'
import type { EventLogContext, EventLogSubject } from './event-log-harness.ts'
import { appendConformance } from './event-log-append.ts'
import { consumeConformance } from './event-log-consume.ts'

/** Everything the event-log port promises, for any adapter. */
export function eventLogConformance(name: string, factory: () => Promise<EventLogSubject>): void {
  describe(`event log: ${name}`, () => {
    const context = eventLogContext(factory)
    appendConformance(context)
    consumeConformance(context)
    lifeConformance(context)
  })
}

function lifeConformance(context: EventLogContext): void {
  const { makeTopic, consume } = context
  let log: EventLog
  let subject: EventLogSubject
  beforeEach(() => {
    ;({ log, subject } = context)
  })

  describe('life', () => {
    it('keeps topics, records, arrivals and commits when opened again, where it declares so', async () => {
      const topic = await makeTopic()
      const group = fresh('group')
      await log.append([{ topic, key: 'k', value: bytes('v'), headers: { a: 'b' }, arrivalMs: 900 }])
      const seen = recorder({ batch: async (_batch, control) => control.commit(topic, 0, 1) })
      const consumer = await consume([topic], seen, { group })
      await seen.until(() => seen.texts().length === 1)
      await consumer.stop()
      const before = await log.describe(topic)
      const again = await subject.reopen()
      if (!again.capabilities.survivesProcess) {
        expect(await again.describe(topic)).toBeNull()
        return
      }
      expect(await again.describe(topic)).toEqual(before)
      expect(await again.committed(group, topic, 0)).toBe(1)
      await again.append(numbered(topic, 1, 2).map(record => ({ ...record, arrivalMs: 800 })))
      const { records } = await again.read(topic, 0, 0, 10)
      expect(records.map(record => [record.offset, record.key, text(record), record.arrivalMs])).toEqual([
        [0, 'k', 'v', 900],
        [1, null, 'r1', 900],
      ])
      expect(records[0]?.headers).toEqual({ a: 'b' })
    })

    it('refuses every call after close with CLOSED, and closes twice', async () => {
      const topic = await makeTopic()
      const seen = recorder()
      await consume([topic], seen)
      await log.close()
      await log.close()
      const closed = { name: 'PortError', code: 'CLOSED' }
      await expect(log.append(numbered(topic, 0, 1))).rejects.toMatchObject(closed)
      await expect(log.append([])).rejects.toMatchObject(closed)
      await expect(log.read(topic, 0, 0, 1)).rejects.toMatchObject(closed)
      await expect(log.bounds(topic, 0)).rejects.toMatchObject(closed)
      await expect(log.describe(topic)).rejects.toMatchObject(closed)
      await expect(log.committed('g', topic, 0)).rejects.toMatchObject(closed)
      await expect(log.ensureTopics([])).rejects.toMatchObject(closed)
      await expect(log.deleteTopic(topic)).rejects.toMatchObject(closed)
      await expect(consume([topic], recorder())).rejects.toMatchObject(closed)
    })

    it('writes what was appended before close', async () => {
      const topic = await makeTopic()
      const appending = log.append(numbered(topic, 0, 3))
      await log.close()
      expect(await appending).toHaveLength(3)
    })
  })
}
