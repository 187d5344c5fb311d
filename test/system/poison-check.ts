import { expect } from 'vitest'
import { verifyOffline, verifyOnline } from '../../load-tests/faults/verify.ts'
import type { LogRecord, NewRecord } from '../../topology/ports/event-log.ts'
import { random } from '../worker/simulated-ports.ts'
import { poisonRecords, strangeTransfers } from './poison-records.ts'
import type { Poison, Transfer } from './poison-records.ts'
import { allRecords, makeTransfers, onlineDifferences, transferRecord } from './poison-world.ts'
import type { Placed, PoisonWorld } from './poison-world.ts'

export const SEED = 20_261_201
const GOOD = 1_500
const ROUNDS = 2
/** Larger than an event may be, so that one too large gets into the log. */
export const MAX_RECORD_BYTES = 1_200_000

/** A record that was sent, where it lies now, and why it must be refused. */
export interface SentPoison {
  readonly poison: Poison
  /** As the log must give it back. */
  readonly sent: Pick<NewRecord, 'key' | 'value'>
  readonly partition: number
  readonly offset: number
}

interface Mixed {
  readonly record: NewRecord
  readonly good: Transfer | null
  readonly poison: Poison | null
}

function mix(pick: (bound: number) => number, nowMs: number): readonly Mixed[] {
  const transfers = makeTransfers(pick, GOOD, nowMs - GOOD * 100)
  const base: Transfer = { ...(transfers[0] as Transfer), transfer_id: 'gp', at: nowMs }
  const kinds = Array.from({ length: ROUNDS }, () => poisonRecords(base, MAX_RECORD_BYTES)).flat()
  const poison = kinds.map((each): Mixed => {
    const key = each.key === undefined ? `c${pick(60)}` : each.key
    const place = key === null ? { partition: pick(3) } : {}
    const headers = each.headers === undefined ? {} : { headers: each.headers }
    return { record: { topic: 'transfers', key, value: each.value, ...place, ...headers }, good: null, poison: each }
  })
  const strange = strangeTransfers(base).map(({ value }, index): Mixed => {
    const good = { ...base, transfer_id: `strange${index}` }
    const text = new TextDecoder('utf-8', { ignoreBOM: true })
      .decode(value)
      .replace('"gp"', JSON.stringify(good.transfer_id))
    return { record: { ...transferRecord(good), value: new TextEncoder().encode(text) }, good, poison: null }
  })
  const mixed = transfers.map((good): Mixed => ({ record: transferRecord(good), good, poison: null }))
  for (const each of [...poison, ...strange]) mixed.splice(pick(mixed.length + 1), 0, each)
  return mixed
}

const MAX_APPEND_BYTES = 2_000_000

/** Appends in parts, so that poison and good records come in batches of all sizes. */
async function produce(world: PoisonWorld, mixed: readonly Mixed[]) {
  const good: Placed[] = []
  const poison: SentPoison[] = []
  for (let start = 0; start < mixed.length;) {
    let end = start
    for (let bytes = 0; end < mixed.length && end - start < 100 && bytes < MAX_APPEND_BYTES; end++) {
      bytes += mixed[end]?.record.value.length ?? 0
    }
    const part = mixed.slice(start, end)
    const positions = await world.context.log.append(part.map(({ record }) => record))
    for (const [index, each] of part.entries()) {
      const position = positions[index] as (typeof positions)[number]
      if (each.poison !== null) poison.push({ poison: each.poison, sent: each.record, ...position })
      if (each.good !== null) good.push({ transfer: each.good, position, arrivalMs: Date.now() })
    }
    start = end
  }
  return { good, poison }
}

interface StoredLetter {
  readonly _partition: number
  readonly _offset: string
  readonly code: string
  readonly key: string | null
  readonly payload_hex: string
}

const hex = (value: Uint8Array): string => Buffer.from(value).toString('hex')

function expectLetter(
  letter: LogRecord | undefined,
  incarnation: string,
  sent: Pick<NewRecord, 'key' | 'value'>,
  poison: Poison,
): void {
  const { name } = poison
  expect(letter, name).toBeDefined()
  if (letter === undefined) return
  const { headers } = letter
  expect(headers['hw-code'], name).toBe(poison.code)
  expect(headers['hw-reason'], name).toMatch(/\S/)
  expect(headers['hw-incarnation'], name).toBe(incarnation)
  expect(headers['hw-source'], name).toBe('transfer')
  if (headers['hw-dropped-key-bytes'] !== undefined) {
    expect(Number(headers['hw-dropped-key-bytes']), name).toBe(Buffer.byteLength(sent.key ?? ''))
  } else {
    expect(letter.key, name).toBe(sent.key)
  }
  if (headers['hw-dropped-headers'] === undefined) {
    for (const [header, value] of Object.entries(poison.headers ?? {})) {
      if (!header.startsWith('hw-')) expect(headers[header], name).toBe(value)
    }
  }
  const cutFrom = headers['hw-cut-from-bytes']
  if (cutFrom === undefined) expect(hex(letter.value) === hex(sent.value), `${name}: bytes`).toBe(true)
  else {
    expect(Number(cutFrom), name).toBe(sent.value.length)
    expect(hex(sent.value).startsWith(hex(letter.value)), `${name}: bytes`).toBe(true)
  }
}

/**
 * Sends good and poisonous records through the whole system and compares everything that comes out.
 * @param foreign sends records that the port cannot write, in the middle of the others
 */
export async function expectPoisonIsSetApart(
  world: PoisonWorld,
  foreign: (() => Promise<readonly SentPoison[]>) | null = null,
): Promise<void> {
  const pick = random(SEED)
  const mixed = mix(pick, Date.now())
  const half = mixed.length >> 1
  const first = await produce(world, mixed.slice(0, half))
  const written = foreign === null ? [] : await foreign()
  const second = await produce(world, mixed.slice(half))
  const good = [...first.good, ...second.good]
  const poison = [...first.poison, ...written, ...second.poison]
  await world.caughtUp()
  const { context, offline } = world
  const { log } = context
  const incarnation = (await log.describe('transfers'))?.incarnation ?? ''

  const letters = await allRecords(log, 'transfers.dead-letter')
  const byPlace = new Map<string, LogRecord[]>()
  for (const letter of letters) {
    const place = `${letter.headers['hw-topic']}/${letter.headers['hw-partition']}/${letter.headers['hw-offset']}`
    byPlace.set(place, [...(byPlace.get(place) ?? []), letter])
  }
  expect(letters.length).toBe(poison.length)
  for (const each of poison) {
    const found = byPlace.get(`transfers/${each.partition}/${each.offset}`) ?? []
    expect(found.length, each.poison.name).toBe(1)
    expectLetter(found[0], incarnation, each.sent, each.poison)
  }

  const rows = await offline.query<StoredLetter>(
    'SELECT _partition, _offset, code, key, payload_hex FROM dead_letters FINAL',
  )
  const rowOf = new Map(rows.map(row => [`${row._partition}/${row._offset}`, row]))
  expect(rows.length).toBe(poison.length)
  for (const { poison: kind, sent, partition, offset } of poison) {
    const row = rowOf.get(`${partition}/${offset}`)
    expect(row?.code, kind.name).toBe(kind.code)
    expect(row?.key, kind.name).toBe(sent.key)
    expect(row?.payload_hex === hex(sent.value), `${kind.name}: bytes`).toBe(true)
  }

  expect(await onlineDifferences(world, good)).toEqual([])
  const cents = good.reduce((sum, { transfer }) => sum + Math.round(transfer.amount * 100), 0)
  const [totals] = await offline.query(
    'SELECT toString(count()) AS n, toString(uniqExact(transfer_id)) AS ids, toString(sum(toInt64(amount * 100))) AS cents FROM transfer',
  )
  expect(totals).toEqual({ n: String(good.length), ids: String(good.length), cents: String(cents) })

  const online = await verifyOnline({
    log,
    store: context.store,
    bound: context.bound,
    namespace: context.config.namespace,
    topic: 'transfers',
    readOneIn: 7,
  })
  expect(online.differences).toEqual([])
  expect(online).toMatchObject({ records: good.length, invalid: poison.length, wrong: 0, missing: 0, extra: 0 })
  expect(online.readSections).toBeGreaterThan(5)
  const source = context.project.plan.sources[0]
  if (source === undefined) throw new Error('the plan has no source')
  const history = await verifyOffline({ offline, log, source })
  expect(history.differences).toEqual([])
  expect(history.events).toMatchObject({ expected: good.length, missing: 0, double: 0, extra: 0, wrong: 0 })
  expect(history.deadLetters).toMatchObject({ expected: poison.length, missing: 0, double: 0, extra: 0, wrong: 0 })
}
