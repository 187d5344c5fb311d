import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../services/clock.ts'
import { replayDeadLetters } from '../../topology/jobs/dead-letter-replay.ts'
import { payloadPreview, safeText } from '../../topology/jobs/dead-letters.ts'
import { REPLAYS_TOPIC, positionSet } from '../../topology/jobs/replay-journal.ts'
import type { EventLog, NewRecord } from '../../topology/ports/event-log.ts'
import { reportedRecord } from '../../topology/processors/reported.ts'
import { random } from '../worker/simulated-ports.ts'
import { headwater, temporaryFolder } from './headwater.ts'
import type { Transfer } from './poison-records.ts'
import { TRANSFERS, allRecords, makeTransfers, startPoisonWorld, transferRecord } from './poison-world.ts'
import type { PoisonWorld } from './poison-world.ts'

const MAX_RECORD_BYTES = 65_536
const CLOCK_SKEW_MS = 300_000
const DAY = 86_400_000
const utf8 = new TextEncoder()

interface Listed {
  readonly source: string
  readonly code: string
  readonly reason: string
  readonly origin: { readonly topic: string; readonly partition: number; readonly offset: number } | null
  readonly key: string | null
  readonly arrivalMs: number
  readonly reportedMs: number
  readonly sizeBytes: number
  readonly cut: boolean
  readonly replays: number
  readonly replayOf: string | null
  readonly letter: { readonly partition: number; readonly offset: number; readonly incarnation: string }
  readonly payloadBase64: string
}

describe('headwater dlq', () => {
  const folder = temporaryFolder()
  const data = join(folder.path, 'data')
  const settings = { 'eventLog.maxRecordBytes': String(MAX_RECORD_BYTES) }
  const flags = ['--data', data, '--features', TRANSFERS, '--set', `eventLog.maxRecordBytes=${MAX_RECORD_BYTES}`]
  const base = makeTransfers(random(1), 1, Date.now())[0] as Transfer
  let world: PoisonWorld

  const dlq = (...args: readonly string[]) => headwater(['dlq', ...args, ...flags])
  const listed = async (...args: readonly string[]): Promise<Listed[]> => {
    const run = await dlq('list', '--json', ...args)
    expect(run.stderr).toBe('')
    expect(run.code).toBe(0)
    expect(run.stdout).toMatch(/^[\x20-\x7e\n]*$/)
    const lines = run.stdout.split('\n').filter(line => line !== '')
    return lines.map(line => JSON.parse(line) as Listed)
  }
  const append = async (...records: readonly NewRecord[]) => {
    const positions = await world.context.log.append(records)
    await world.caughtUp()
    return positions
  }
  const sql = async (query: string) => await world.offline.query<{ readonly n: string }>(query)
  const countOf = async (id: string) =>
    await sql(`SELECT toString(count()) AS n FROM transfer WHERE transfer_id = '${id}'`)

  beforeAll(async () => {
    world = await startPoisonWorld(data, settings)
    await append(...makeTransfers(random(2), 50, Date.now() - 10_000).map(transferRecord))
  })
  afterAll(async () => {
    await world.stop()
    folder.remove()
  })

  it('says that there is nothing, where there is nothing', async () => {
    expect(await listed()).toEqual([])
    const run = await dlq('list')
    expect(run).toMatchObject({ code: 0, stdout: 'no dead letters\n' })
    const replay = await dlq('replay', '--yes')
    expect(replay.code).toBe(0)
    expect(replay.stdout).toMatch(/^0 dead letters: 0 were written back/)
  })

  it('lists what was refused, with place, key, code, reason, arrival and bytes, safe for a terminal', async () => {
    const evil = '\u001b]0;owned\u0007\u202egnp.exe{'
    const before = Date.now()
    const [first, second] = await append(
      { topic: 'transfers', key: 'k\u001b[31m', value: utf8.encode(evil) },
      { topic: 'transfers', key: null, partition: 2, value: Uint8Array.of(0xff, 0x00, 0x41) },
      transferRecord({ ...base, transfer_id: 'no-shop', shop: undefined as unknown as string }),
    )
    const letters = await listed()
    expect(letters.map(({ code }) => code).sort()).toEqual(['MISSING_FIELD', 'NOT_JSON', 'NOT_UTF8'])
    const { incarnation } = await world.context.log.bounds('transfers', 0)
    const found = letters.find(({ code }) => code === 'NOT_JSON')
    expect(found).toMatchObject({
      source: 'transfer',
      origin: { topic: 'transfers', ...first, incarnation },
      key: 'k\u001b[31m',
      sizeBytes: utf8.encode(evil).length,
      cut: false,
      replays: 0,
      replayOf: null,
      payloadBase64: Buffer.from(evil).toString('base64'),
    })
    expect(found?.arrivalMs).toBeGreaterThanOrEqual(before)
    expect(found?.reportedMs).toBeGreaterThanOrEqual(found?.arrivalMs ?? Infinity)
    expect(letters.find(({ code }) => code === 'NOT_UTF8')).toMatchObject({ key: null, origin: second })

    const { stdout, code } = await dlq('list')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^[\x20-\x7e\n…]*$/)
    expect(stdout).toContain(`NOT_JSON  transfers/${first?.partition}/${first?.offset}@${incarnation}`)
    expect(stdout).toContain('\\u{1b}]0;owned\\u{7}\\u{202e}gnp.exe{')
    expect(stdout).toContain('\\xff\\x00A')
    expect(stdout).toContain('"shop" of event "transfer" is missing')
    expect(stdout).toMatch(/3 dead letters\n(1 {2}[A-Z_0-9]+ {2}transfer\n){3}$/)
  })

  it('takes filters, and says what is wrong with one', async () => {
    const [byCode, bySource, two, newest, all, hour, none] = await Promise.all([
      listed('--code', 'NOT_UTF8'),
      listed('--source', 'transfer'),
      listed('--limit', '2'),
      listed('--limit', '1'),
      listed(),
      listed('--since', '1h'),
      listed('--since', '1ms'),
    ])
    expect([byCode, bySource, two, all, hour, none].map(({ length }) => length)).toEqual([1, 3, 2, 3, 3, 0])
    expect(newest[0]?.reportedMs).toBe(Math.max(...all.map(each => each.reportedMs)))
    const run = await dlq('list', '--limit', '1')
    expect(run.stdout).toContain('the newest 1 of 3')
    const wrong = [
      [['--source', 'payment'], /no such event.*transfer/],
      [['--since', 'yesterday'], /duration/],
      [['--limit', '-1'], /whole number/],
    ] as const
    const refused = await Promise.all(wrong.map(([args]) => dlq('list', ...args)))
    expect(refused.map(({ code }) => code)).toEqual([1, 1, 1])
    for (const [index, [, reason]] of wrong.entries()) expect(refused[index]?.stderr).toMatch(reason)
  })

  it('writes nothing without --yes, and leaves what is still no event', async () => {
    const future = { ...base, transfer_id: 'future', at: Date.now() + CLOCK_SKEW_MS + 1_500 }
    await append({ ...transferRecord(future), headers: { trace: 't1', 'hw-code': 'FORGED' } })
    while (Date.now() + CLOCK_SKEW_MS < future.at) await new Promise(done => setTimeout(done, 50))
    const ends = async () =>
      await Promise.all([0, 1, 2].map(async p => (await world.context.log.bounds('transfers', p)).endOffset))
    const before = await ends()
    const without = await dlq('replay', '--code', 'FUTURE')
    expect(without.code).toBe(1)
    expect(without.stdout).toMatch(/1 dead letter: 1 would be written back/)
    expect(without.stdout).toMatch(/give --yes/)
    const dry = await dlq('replay', '--dry-run')
    expect(dry.stdout).toMatch(/4 dead letters: 1 would be written back/)
    expect(dry.stdout).toMatch(/3 left: still no valid event/)
    expect(dry.code).toBe(1)
    expect(await ends()).toEqual(before)
    expect(await world.context.log.describe(REPLAYS_TOPIC)).toBeNull()
  })

  it('writes a record back as it was, once, and it counts', async () => {
    const run = await dlq('replay', '--yes', '--code', 'FUTURE')
    expect(run.code, run.stderr).toBe(0)
    expect(run.stdout).toMatch(/1 dead letter: 1 were written back/)
    expect(run.stdout).toMatch(/counts as one that arrives now/)
    await world.caughtUp()
    const records = (await allRecords(world.context.log, 'transfers')).filter(each => each.key === base.card)
    const [refused, replayed] = records.filter(each => Buffer.from(each.value).includes('"future"'))
    const [letter] = await listed('--code', 'FUTURE')
    expect(Buffer.compare(refused?.value ?? utf8.encode('a'), replayed?.value ?? utf8.encode('b'))).toBe(0)
    expect(replayed?.partition).toBe(refused?.partition)
    expect(replayed?.headers).toEqual({
      trace: 't1',
      'hw-replays': '1',
      'hw-replay-of': `transfers.dead-letter/${letter?.letter.partition}/${letter?.letter.offset}@${letter?.letter.incarnation}`,
    })
    expect(await countOf('future')).toEqual([{ n: '1' }])
    const again = await dlq('replay', '--yes', '--code', 'FUTURE')
    expect(again.code).toBe(0)
    expect(again.stdout).toMatch(/1 dead letter: 0 were written back\n\s+1 left: replayed before/)
    const anew = await dlq('replay', '--yes', '--again', '--code', 'FUTURE')
    expect(anew.stdout).toMatch(/1 were written back/)
    await world.caughtUp()
    // The rule for duplicates counts the second one once.
    expect(await countOf('future')).toEqual([{ n: '1' }])
  })

  it('does not write a record back for ever that is refused again', async () => {
    const run = await dlq('replay', '--yes', '--even-invalid', '--code', 'NOT_JSON')
    expect(run.stdout).toMatch(/1 were written back/)
    await world.caughtUp()
    const letters = await listed('--code', 'NOT_JSON')
    expect(letters.map(({ replays }) => replays)).toEqual([0, 1])
    const [first, second] = letters
    expect(second?.replayOf).toBe(
      `transfers.dead-letter/${first?.letter.partition}/${first?.letter.offset}@${first?.letter.incarnation}`,
    )
    expect(second?.payloadBase64).toBe(first?.payloadBase64)
    expect(second?.key).toBe(first?.key)
    const next = await dlq('replay', '--yes', '--even-invalid', '--code', 'NOT_JSON')
    expect(next.stdout).toMatch(/2 dead letters: 0 were written back/)
    expect(next.stdout).toMatch(/1 left: replayed before/)
    expect(next.stdout).toMatch(/1 left: came back from a replay/)
    const anew = await dlq('replay', '--yes', '--even-invalid', '--again', '--code', 'NOT_JSON')
    expect(anew.stdout).toMatch(/2 dead letters: 1 were written back/)
    expect(anew.stdout).toMatch(/1 left: came back as a later dead letter/)
    await world.caughtUp()
    expect((await listed('--code', 'NOT_JSON')).map(({ replays }) => replays)).toEqual([0, 1, 2])
  })

  it('takes a record that the topic could not keep whole from the table of dead letters', async () => {
    const large = { ...base, transfer_id: 'large', at: Date.now() + CLOCK_SKEW_MS + 1_500 }
    const text = JSON.stringify(large)
    const room = MAX_RECORD_BYTES - text.length - base.card.length - 700
    await append({ topic: 'transfers', key: base.card, value: utf8.encode(`${text}${' '.repeat(room)}`) })
    while (Date.now() + CLOCK_SKEW_MS < large.at) await new Promise(done => setTimeout(done, 50))
    const letters = await listed('--code', 'FUTURE')
    expect(letters.find(({ cut }) => cut)).toMatchObject({ sizeBytes: text.length + room })
    const run = await dlq('replay', '--yes', '--code', 'FUTURE')
    expect(run.stdout).toMatch(/2 dead letters: 1 were written back/)
    await world.caughtUp()
    expect(await countOf('large')).toEqual([{ n: '1' }])
    const records = await allRecords(world.context.log, 'transfers')
    expect(records.filter(each => each.value.length === text.length + room).length).toBe(2)
  })

  it('counts an event once whose replay was killed before it was noted', async () => {
    const { log, formats, project, config } = world.context
    const future = { ...base, transfer_id: 'killed', at: Date.now() + CLOCK_SKEW_MS + 500 }
    await append(transferRecord(future))
    while (Date.now() + CLOCK_SKEW_MS < future.at) await new Promise(done => setTimeout(done, 50))
    const replay = async (on: EventLog) =>
      await replayDeadLetters({
        ...{
          log: on,
          formats,
          sources: project.plan.sources,
          filter: { code: 'FUTURE' },
          clock: systemClock,
          fix: null,
        },
        ...{ maxRecordBytes: config.eventLog.maxRecordBytes, dryRun: false, again: false, evenInvalid: false },
        wholeRecord: () => Promise.resolve({ reason: 'not asked for' }),
        onProgress: () => undefined,
      })
    const killed: EventLog = {
      ...log,
      append: async records => {
        if (records.some(({ topic }) => topic === REPLAYS_TOPIC)) throw new Error('killed')
        return await log.append(records)
      },
    }
    await expect(replay(killed)).rejects.toThrow('killed')
    expect(await replay(log)).toMatchObject({ written: 1 })
    expect(await replay(log)).toMatchObject({ written: 0 })
    await world.caughtUp()
    const sent = (await allRecords(log, 'transfers')).filter(each => Buffer.from(each.value).includes('"killed"'))
    expect(sent.map(each => each.headers['hw-replays'])).toEqual([undefined, '1', '1'])
    expect(await countOf('killed')).toEqual([{ n: '1' }])
  })

  it('writes back what a fix makes of a record, and leaves what it does not touch', async () => {
    const fix = join(folder.path, 'fix.ts')
    writeFileSync(
      fix,
      `export const fix = (record: { text: string }) => {
        const fields = JSON.parse(record.text)
        return fields.transfer_id === 'no-shop' ? { ...fields, shop: 'unknown', serial: BigInt(fields.serial) } : null
      }\n`,
    )
    const run = await dlq('replay', '--yes', '--code', 'MISSING_FIELD', '--fix', fix)
    expect(run.stdout, run.stderr).toMatch(/1 dead letter: 1 were written back/)
    await world.caughtUp()
    expect(await countOf('no-shop')).toEqual([{ n: '1' }])
    const bad = join(folder.path, 'bad.ts')
    writeFileSync(bad, 'export const fixed = 1\n')
    for (const [file, reason] of [
      [join(folder.path, 'none.ts'), /no such file/],
      [bad, /must export a function "fix"/],
    ] as const) {
      const refused = await dlq('replay', '--yes', '--fix', file)
      expect(refused.code).toBe(1)
      expect(refused.stderr).toMatch(reason)
      expect(refused.stderr).not.toMatch(/\n\s+at /)
    }
  })

  it('lists late events, by the entities that refused them', async () => {
    await append(transferRecord({ ...base, transfer_id: 'late', at: base.at - DAY - 120_000 }))
    await expect.poll(async () => (await allRecords(world.context.log, 'transfers.late')).length).toBe(1)
    const [late] = await listed('--late')
    expect(late).toMatchObject({ code: 'LATE', key: base.card, origin: { topic: 'transfers' } })
    expect(late?.reason).toMatch(/^late for .*card/)
    const run = await dlq('list', '--late')
    expect(run.stdout).toMatch(/1 late event\n1 {2}LATE {2}transfer\n$/)
  })

  it('is not misled by what was reported twice, by foreign records, or by rows of files', async () => {
    const { log, config } = world.context
    const before = await listed()
    const topic = 'transfers.dead-letter'
    const twice = (await allRecords(log, topic)).filter(record => record.headers['hw-replays'] === undefined)
    const foreign = { topic, key: null, partition: 1, value: utf8.encode('?') }
    await log.append([
      ...twice.map(({ key, partition, value, headers }) => ({ topic, key, partition, value, headers })),
      foreign,
      { ...foreign, headers: { 'hw-topic': 'other', 'hw-partition': '0', 'hw-offset': '0', 'hw-code': 'NOT_JSON' } },
      {
        ...foreign,
        headers: { 'hw-topic': 'transfers', 'hw-partition': '-1', 'hw-offset': '1e3', 'hw-replays': '-7' },
      },
      { ...foreign, headers: { 'hw-file': 'a.csv', 'hw-row': '3', 'hw-code': 'WRONG_TYPE', 'hw-reason': 'no' } },
    ])
    expect((await listed()).length).toBe(before.length + 4)
    const text = await dlq('list')
    expect(text.stdout).toContain(`${before.length + 4} dead letters; ${twice.length} were written twice`)
    expect(text.stdout).toMatch(/WRONG_TYPE {2}a\.csv, row 3 {2}/)
    const replay = await dlq('replay', '--dry-run', '--even-invalid')
    expect(replay.code).toBe(1)
    expect(replay.stdout).toMatch(/3 left: of an unknown origin/)
    expect(replay.stdout).toMatch(/1 left: from an imported file/)
    expect(config.namespace).toBe('default')
  })
})

describe('what dlq is made of', () => {
  it('a preview never steers a terminal, is cut, and shows plain text as it is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 1, max: 100 }), (value, length) => {
        const shown = payloadPreview(value, length)
        expect(shown).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u)
        expect(shown.length).toBeLessThanOrEqual(length + 1)
      }),
    )
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), text => {
        expect(safeText(text, 100)).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u)
        expect(payloadPreview(utf8.encode(text), 100)).toBe(safeText(text, 100))
      }),
    )
    expect(payloadPreview(utf8.encode('{"straße": "10 €"}'), 100)).toBe('{"straße": "10 €"}')
    expect(payloadPreview(utf8.encode('€'.repeat(500)), 7)).toBe(`${'€'.repeat(7)}…`)
  })

  it('a set of positions is a set', () => {
    const place = fc.record({
      topic: fc.constantFrom('a', 'b'),
      partition: fc.nat(1),
      incarnation: fc.constantFrom('x', null),
      offset: fc.nat(40),
    })
    fc.assert(
      fc.property(fc.array(place, { maxLength: 80 }), fc.array(place, { maxLength: 40 }), (added, asked) => {
        const set = positionSet()
        for (const at of added) set.add(at)
        const model = new Set(added.map(at => JSON.stringify(at)))
        for (const at of [...added, ...asked]) expect(set.has(at)).toBe(model.has(JSON.stringify(at)))
      }),
    )
  })

  it('a report fits into the log, whatever the record holds, and says what it lacks', () => {
    const text = fc.string({ unit: 'binary', maxLength: 3_000 }).filter(each => each.isWellFormed())
    const record = fc.record({
      key: fc.option(text),
      value: fc.uint8Array({ maxLength: 3_000 }),
      headers: fc.dictionary(fc.constantFrom('a', 'hw-code', 'hw-replays', 'hw-cut-from-bytes'), text),
    })
    fc.assert(
      fc.property(record, fc.nat(11), ({ key, value, headers }, partition) => {
        const given = { topic: 't', partition, offset: 7, arrivalMs: 1, key, value, headers }
        const made = reportedRecord(given, { topic: 't.late', partitions: 4 }, { 'hw-code': 'X' }, 2_000)
        const about = made.headers ?? {}
        const bytes = made.value.length + Buffer.byteLength(made.key ?? '') + Buffer.byteLength(JSON.stringify(about))
        expect(bytes).toBeLessThanOrEqual(2_000)
        expect(made.partition).toBe(partition % 4)
        expect(about).toMatchObject({
          'hw-topic': 't',
          'hw-partition': String(partition),
          'hw-offset': '7',
          'hw-code': 'X',
        })
        const cut = made.value.length < value.length
        expect(about['hw-cut-from-bytes']).toBe(cut ? String(value.length) : undefined)
        expect(Buffer.from(value).subarray(0, made.value.length).equals(made.value)).toBe(true)
        const keyBytes = Buffer.byteLength(key ?? '')
        expect(about['hw-dropped-key-bytes']).toBe(made.key === key ? undefined : String(keyBytes))
        const hasOwn = headers['a'] !== undefined
        if (hasOwn && about['hw-dropped-headers'] === undefined) expect(about['a']).toBe(headers['a'])
      }),
    )
  })
})
