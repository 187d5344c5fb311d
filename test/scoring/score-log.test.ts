import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import type { EventLog } from '../../topology/ports/event-log.ts'
import { PortError } from '../../topology/ports/errors.ts'
import { SCORES_TOPIC } from '../../topology/ports/score-record.ts'
import type { ScoreRecord } from '../../topology/ports/score-record.ts'
import { createPublisher } from '../../topology/scoring/publish.ts'
import { createScoreLogBuffer, encodeScoreRecord } from '../../topology/scoring/score-log.ts'
import { collectTelemetry, systemClock } from './harness.ts'
import { NOW, compileWorld, paid } from './world.ts'

let folder: string
let log: EventLog
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'headwater-score-log-'))
  log = await openEmbeddedEventLog({ path: join(folder, 'log.sqlite'), clock: systemClock })
})
afterEach(async () => {
  await log.close()
  rmSync(folder, { recursive: true, force: true })
})

function record(index: number): ScoreRecord {
  return {
    decisionId: `d${index}`,
    service: 'fraud',
    eventId: `e${index}`,
    eventTimeMs: NOW,
    asOfMs: NOW,
    scoredAtMs: NOW,
    planHash: 'p',
    model: null,
    modelVersion: null,
    policyVersion: null,
    decision: 'approve',
    score: null,
    degraded: null,
    matchedRules: [],
    request: { amount: 12.34, account: 2n ** 60n },
    features: { 'card.mean': NaN, 'card.max': -Infinity, 'card.last': [1n, null, 'x'] },
    statuses: {},
    inputs: {},
    positions: [],
    latencyUs: { decode: 0, read: 0, features: 0, model: 0, policy: 0, total: 0 },
  }
}

async function logged(): Promise<{ key: string | null; body: Record<string, unknown> }[]> {
  const out: { key: string | null; body: Record<string, unknown> }[] = []
  const topic = await log.describe(SCORES_TOPIC)
  for (let partition = 0; partition < (topic?.partitions ?? 0); partition++) {
    const batch = await log.read(SCORES_TOPIC, partition, 0, 10_000)
    for (const { key, value } of batch.records) {
      out.push({ key, body: JSON.parse(Buffer.from(value).toString('utf8')) as Record<string, unknown> })
    }
  }
  return out
}

describe('score log buffer', () => {
  const topic = { name: SCORES_TOPIC, partitions: 3, retentionMs: 0 }

  it('writes every record once, keyed by decision id, and loses no value to null', async () => {
    await log.ensureTopics([topic])
    const telemetry = collectTelemetry()
    const buffer = createScoreLogBuffer({ log, telemetry, maxBatchRecords: 7 })
    for (let index = 0; index < 50; index++) buffer.add(record(index))
    await buffer.close()
    expect(buffer.bufferedRecords).toBe(0)
    const found = await logged()
    expect(found.map(({ key }) => key).sort()).toEqual(Array.from({ length: 50 }, (_, index) => `d${index}`).sort())
    for (const { key, body } of found) expect(body['decisionId']).toBe(key)
    expect(found[0]?.body).toMatchObject({
      request: { amount: 12.34, account: '1152921504606846976' },
      features: { 'card.mean': 'NaN', 'card.max': '-Infinity', 'card.last': ['1', null, 'x'] },
    })
    expect(telemetry.total('score_log_appended_records')).toBe(50)
    expect(telemetry.total('score_log_dropped_records')).toBe(0)
  })

  it('drops and counts what it has no room for, and what comes after close', async () => {
    await log.ensureTopics([topic])
    const telemetry = collectTelemetry()
    const buffer = createScoreLogBuffer({ log, telemetry, maxBufferedRecords: 10 })
    for (let index = 0; index < 25; index++) buffer.add(record(index))
    expect(buffer.bufferedRecords).toBe(10)
    await buffer.flush()
    buffer.add(record(25))
    await buffer.close()
    buffer.add(record(26))
    expect(await logged()).toHaveLength(11)
    expect(telemetry.total('score_log_dropped_records')).toBe(16)
  })

  it('tries a failed append again, then drops and counts it', async () => {
    await log.ensureTopics([topic])
    const telemetry = collectTelemetry()
    let failures = 3
    const append: EventLog['append'] = async records => {
      if (failures-- > 0) throw new PortError('LOG_UNAVAILABLE', 'the disk is full')
      return await log.append(records)
    }
    const buffer = createScoreLogBuffer({ log: { append }, telemetry, maxAttempts: 3, retryDelayMs: 1 })
    buffer.add(record(1))
    await buffer.flush()
    expect(telemetry.logs).toHaveLength(3)
    expect(telemetry.total('score_log_dropped_records')).toBe(1)
    failures = 2
    buffer.add(record(2))
    await buffer.close()
    expect((await logged()).map(({ key }) => key)).toEqual(['d2'])
  })

  it('does not try again what cannot succeed', async () => {
    const telemetry = collectTelemetry()
    const buffer = createScoreLogBuffer({ log, telemetry, maxAttempts: 3, retryDelayMs: 1 })
    buffer.add(record(1))
    await buffer.flush()
    expect(telemetry.logs).toEqual([expect.stringContaining(SCORES_TOPIC)])
    expect(telemetry.total('score_log_dropped_records')).toBe(1)
    await buffer.close()
  })

  it('writes a record that is too large without its request and features, and drops one that stays too large', async () => {
    await log.ensureTopics([topic])
    const telemetry = collectTelemetry()
    const buffer = createScoreLogBuffer({ log, telemetry })
    const large = 'x'.repeat(2 ** 20)
    buffer.add(record(0))
    buffer.add({ ...record(1), request: { text: large } })
    buffer.add({ ...record(2), features: { 'card.last': large }, inputs: { 'card.mean': 3 } })
    buffer.add({ ...record(3), matchedRules: [large] })
    buffer.add(record(4))
    await buffer.close()
    const found = (await logged()).sort((a, b) => String(a.key).localeCompare(String(b.key)))
    expect(found.map(({ key }) => key)).toEqual(['d0', 'd1', 'd2', 'd4'])
    expect(found[1]?.body).toMatchObject({ eventId: 'e1', request: {}, features: {} })
    expect(found[2]?.body).toEqual({
      ...found[1]?.body,
      decisionId: 'd2',
      eventId: 'e2',
      inputs: { 'card.mean': 3 },
    })
    expect(found[3]?.body['request']).not.toEqual({})
    expect(telemetry.total('score_log_cut_records')).toBe(2)
    expect(telemetry.total('score_log_dropped_records')).toBe(1)
    expect(telemetry.total('score_log_appended_records')).toBe(4)
    expect(telemetry.logs).toEqual([])
  })

  it('takes the bound from its option, to the byte', async () => {
    await log.ensureTopics([topic])
    const telemetry = collectTelemetry()
    const bytes = encodeScoreRecord(record(1)).length
    for (const maxRecordBytes of [bytes, bytes - 1]) {
      const buffer = createScoreLogBuffer({ log, telemetry, maxRecordBytes })
      buffer.add(record(1))
      await buffer.close()
      expect(telemetry.total('score_log_cut_records')).toBe(bytes - maxRecordBytes)
    }
  })

  it('gives up at the end of its wait when the log does not answer', async () => {
    const telemetry = collectTelemetry()
    let answer = (): void => {}
    const stuck = new Promise<void>(resolve => (answer = resolve))
    const append: EventLog['append'] = async () => {
      await stuck
      return []
    }
    const buffer = createScoreLogBuffer({ log: { append }, telemetry, maxBatchRecords: 4 })
    for (let index = 0; index < 10; index++) buffer.add(record(index))
    await buffer.close(20)
    expect(buffer.bufferedRecords).toBe(0)
    expect(telemetry.total('score_log_dropped_records')).toBe(10)
    answer()
    await buffer.flush()
    await buffer.close(20)
    buffer.add(record(11))
    expect(telemetry.total('score_log_dropped_records')).toBe(11)
    expect(telemetry.total('score_log_appended_records')).toBe(0)
  })

  it('encodes as JSON', () => {
    expect(JSON.parse(new TextDecoder().decode(encodeScoreRecord(record(3))))).toMatchObject({
      decisionId: 'd3',
      score: null,
    })
  })
})

describe('publisher', () => {
  it('writes the good events of a call and names what is wrong with the others', async () => {
    const { plan } = compileWorld().bound
    await log.ensureTopics(plan.sources.map(({ topic: name, partitions }) => ({ name, partitions, retentionMs: 0 })))
    const { publishEvents } = createPublisher(plan, log, { nowMs: () => NOW, monotonicMs: () => 0 })
    const events = [
      paid('a', 1),
      paid('b', 1, { amount: 1.234 }),
      paid('c', -600),
      paid('d', 2, { card: 'c2' }),
      { id: 'e' },
    ]
    const results = await publishEvents({ source: 'payment', events })
    expect(results.map(result => (result.ok ? 'ok' : result.error.message.replace(/^.*\((\w+)\)$/, '$1')))).toEqual([
      'ok',
      'TOO_MANY_DECIMALS',
      'FUTURE',
      'ok',
      'MISSING_FIELD',
    ])
    const ids: unknown[] = []
    for (const result of results) {
      if (!result.ok) continue
      const { topic, partition, offset } = result.answer
      const [found] = (await log.read(topic, partition, offset, 1)).records
      ids.push((JSON.parse(Buffer.from(found?.value ?? []).toString('utf8')) as { id: string }).id)
    }
    expect(ids).toEqual(['a', 'd'])
    await expect(publishEvents({ source: 'nobody', events })).rejects.toMatchObject({ code: 'UNKNOWN_SOURCE' })
  })

  it('a value that the log cannot carry fails alone', async () => {
    const { plan } = compileWorld().bound
    await log.ensureTopics(plan.sources.map(({ topic: name, partitions }) => ({ name, partitions, retentionMs: 0 })))
    const { publishEvents } = createPublisher(plan, log, { nowMs: () => NOW, monotonicMs: () => 0 })
    const events = ['x', 4].map((rating, index) => ({ id: `q${index}`, at: NOW, shop: 's1', rating }))
    const results = await publishEvents({ source: 'profile', events })
    expect(results).toMatchObject([{ ok: false, error: { code: 'INVALID_EVENT' } }, { ok: true }])
  })

  it('says when the log does not answer', async () => {
    const { plan } = compileWorld().bound
    const { publishEvents } = createPublisher(plan, log, { nowMs: () => NOW, monotonicMs: () => 0 })
    await expect(publishEvents({ source: 'payment', events: [paid('a', 1)] })).rejects.toMatchObject({
      code: 'LOG_UNAVAILABLE',
    })
  })
})
