import { eventDecoder } from '../../features/plan/event.ts'
import type { ConsumerHandlers, LogRecord } from '../../topology/ports/event-log.ts'
import { OFFLINE_TABLES } from '../../topology/processors/offline-schema.ts'
import { sourceMapper } from '../../topology/processors/history.ts'
import { createOfflineWriter } from '../../topology/runtime/offline-writer.ts'
import { createGroup } from './simulated-group.ts'
import type { Member } from './simulated-group.ts'
import { createNetwork, noFaults } from './simulated-network.ts'
import { random } from './simulated-ports.ts'
import { Stuck, createScheduler, meet } from './simulated-scheduler.ts'
import type { Met } from './simulated-scheduler.ts'
import { RAW_TABLE, createTables } from './simulated-tables.ts'
import { createTopic } from './simulated-topic.ts'
import { BASE_MS, TOPIC, createProducer, paymentSource, settingOf } from './simulation-traffic.ts'

/** What is wrong on purpose. */
export interface WriterBugs {
  /** Offsets are committed when their batch is taken. */
  readonly commitFirst?: boolean
  /** Rows are told to be written before they are. */
  readonly insertLater?: boolean
}

const source = paymentSource()
const decoder = eventDecoder(source)
const MAX_RECORD_BYTES = 1 << 20
const MAX_FINISH_STEPS = 40_000
const HOUR_MS = 3_600_000
/** Of so many rows the table refuses one, by its offset. */
const REFUSES_ONE_IN = 13

const isRefused = (offset: number): boolean => offset % REFUSES_ONE_IN === 5

function committingFirst(handlers: ConsumerHandlers): ConsumerHandlers {
  return {
    ...handlers,
    batch: async (batch, control) => {
      await control.commit(batch.topic, batch.partition, batch.nextOffset)
      await handlers.batch(batch, control)
    },
  }
}

/**
 * Offline writers of one group over a log and tables that fail: rows are there before their offset is committed, and
 * when faults stop every record of the log has its row, in its table or among the dead letters.
 */
export async function simulateOffline(
  seed: number,
  bugs: WriterBugs = {},
  met: Met = new Map(),
): Promise<readonly string[]> {
  const pick = random(seed)
  const scheduler = createScheduler(pick)
  const network = createNetwork(scheduler, pick, met, () => true)
  const topic = createTopic(
    TOPIC,
    Array.from({ length: 1 + pick(3) }, () => 0),
  )
  const tables = createTables(met, row => isRefused(Number(row['_offset'])))
  const producer = createProducer(pick, settingOf(seed), met)
  const members: Member[] = []
  const wrong: string[] = []
  let steps = 0

  function rowOf(incarnation: string, { partition, offset, value, arrivalMs }: LogRecord): boolean {
    const valid = decoder.decodeJson(value, arrivalMs).ok && !isRefused(offset)
    return tables.has(valid ? RAW_TABLE : OFFLINE_TABLES.deadLetters, incarnation, partition, offset)
  }
  function missing(incarnation: string, partition: number, below: number): readonly string[] {
    const records = topic.lives.find(life => life.incarnation === incarnation)?.partitions[partition]?.records ?? []
    return records
      .filter(record => record.offset < below && !rowOf(incarnation, record))
      .map(({ offset }) => `${incarnation} partition ${partition}: no row of record ${offset}, below ${below}`)
  }

  const group = createGroup({
    scheduler,
    pick,
    met,
    network,
    topic,
    maxBatchRecords: 8,
    shared: false,
    leapsAhead: false,
    events: {
      committed: (incarnation, partition, offset) => wrong.push(...missing(incarnation, partition, offset)),
      handled: () => undefined,
      refused: () => false,
      accepted: () => undefined,
    },
  })

  function spawn(): Member {
    const clock = { wallMs: BASE_MS + pick(100_000), monotonicMs: pick(5_000) }
    const process = { name: `writer-${members.length}`, alive: true, frozen: false, calls: new Map<string, number>() }
    const log = topic.port(network, process)
    const offline = tables.port(network, process)
    const writer = createOfflineWriter({
      mappers: new Map([[TOPIC, sourceMapper(source, MAX_RECORD_BYTES)]]),
      group: 'writers',
      log: {
        ...log,
        committed: (_group, _topic, partition) =>
          network.call(process, 'committed', () => group.committed(topic.current().incarnation, partition)),
      },
      offline:
        bugs.insertLater === true
          ? { ...offline, insert: (...row) => Promise.resolve(void offline.insert(...row).catch(() => undefined)) }
          : offline,
      clock: { nowMs: () => (clock.wallMs += pick(800)), monotonicMs: () => (clock.monotonicMs += pick(800)) },
      telemetry: {
        count: (name, by) => void (by > 0 && meet(met, name, by)),
        gauge: () => undefined,
        observeMs: () => undefined,
        log: () => undefined,
      },
      limits: {
        maxBufferedRows: 1 + pick(30),
        maxBufferedBytes: 1_000 + pick(10_000),
        maxInsertRows: 1 + pick(10),
        maxInsertBytes: 500 + pick(3_000),
        flushIntervalMs: 1_000,
      },
    })
    const handlers = bugs.commitFirst === true ? committingFirst(writer) : writer
    const rest = {
      handlers,
      view: new Map<number, number>(),
      loops: new Set<number>(),
      lives: new Map(),
      tasks: new Map(),
      clock,
    }
    const member: Member = Object.assign(process, rest)
    members.push(member)
    return member
  }

  const alive = (): readonly Member[] => members.filter(each => each.alive)
  const anyOf = <T>(list: readonly T[]): T | undefined => list[list.length === 0 ? 0 : pick(list.length)]
  const count = (): number => topic.current().partitions.length
  function assign(): void {
    for (let partition = 0; partition < count(); partition++) {
      const owner = group.owners.get(partition)
      const member = anyOf(alive())
      if (member !== undefined && !(owner?.alive === true && owner.view.has(partition))) group.give(partition, member)
    }
  }
  function fault(): void {
    const member = anyOf(alive())
    const kind = pick(2_400)
    if (kind < 8 && member !== undefined) group.kill(member)
    else if (kind < 16 && member !== undefined) member.frozen = true
    else if (kind < 40 && member !== undefined) group.give(pick(count()), member)
    else if (kind < 48 && member !== undefined) member.clock.wallMs += (pick(2) === 0 ? -1 : 1) * HOUR_MS
    else if (kind === 50) topic.recreate(count())
    for (const each of members) if (each.frozen && pick(60) === 0) each.frozen = false
    if (alive().length < 2 && pick(20) === 0) spawn()
    if (pick(6) === 0) assign()
  }

  const percent = (most: number): number => (pick(2) === 0 ? 0 : pick(most))
  Object.assign(network.faults, {
    refusePercent: percent(15),
    losePercent: percent(15),
    timeoutPercent: percent(10),
    delayPercent: percent(15),
    twicePercent: percent(8),
  })
  group.mischief.percent = 1 + pick(10)
  spawn()
  spawn()
  assign()
  const faultySteps = 200 + pick(400)
  const checked = (): void => {
    steps++
    if (group.failures.length > 0) throw group.failures[0]
  }
  await scheduler.run(
    () => steps >= faultySteps || wrong.length > 0,
    () => {
      checked()
      if (pick(5) === 0) {
        const sent = producer.next()
        topic.append(sent.partition(count()), sent.key, sent.value, producer.nowMs(), pick(12) === 0 ? 1 : 0)
      }
      fault()
    },
  )
  Object.assign(network.faults, noFaults())
  group.mischief.percent = 0
  for (const member of alive()) {
    if (pick(2) === 0) group.kill(member)
    member.frozen = false
    group.stop(member)
  }
  const finisher = spawn()
  for (let partition = 0; partition < count(); partition++) group.give(partition, finisher)
  const limit = steps + MAX_FINISH_STEPS
  await scheduler.run(
    () => wrong.length > 0 || (group.running() === 0 && network.inFlight() === 0),
    () => {
      checked()
      if (steps > limit) throw new Stuck(`seed ${seed}: the writer does not reach the end of the log`)
    },
  )
  const { incarnation, partitions } = topic.current()
  for (const [partition, { endOffset }] of partitions.entries())
    wrong.push(...missing(incarnation, partition, endOffset))
  meet(met, 'row stored', tables.rows())
  meet(met, 'row written again', tables.doubles())
  return wrong
}
