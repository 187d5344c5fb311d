import type { EventLog } from '../ports/event-log.ts'
import { recordsOf } from './dead-letters.ts'
import type { LetterPosition } from './dead-letters.ts'

/** Remembers which dead letters were written back: one record for each batch, never removed. */
export const REPLAYS_TOPIC = 'hw.dlq-replays'

/** Offsets of one partition of one life of a topic, as `[first, last]` runs in ascending order. */
type Runs = [first: number, last: number][]

/** A batch of dead letters that were written back, as the journal keeps it. */
interface JournalRecord {
  readonly topic: string
  readonly partition: number
  readonly incarnation: string
  readonly runs: Runs
}

/** A set of places in the log; the memory it takes grows with the gaps, not with the places. */
export interface PositionSet {
  has(at: LetterPosition): boolean
  add(at: LetterPosition): void
}

function runBefore(runs: Runs, offset: number): number {
  let [low, high] = [0, runs.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((runs[middle]?.[0] ?? Infinity) <= offset) low = middle + 1
    else high = middle
  }
  return low - 1
}

function addOffset(runs: Runs, offset: number): void {
  const index = runBefore(runs, offset)
  const run = runs[index]
  const next = runs[index + 1]
  if (run !== undefined && offset <= run[1]) return
  if (run !== undefined && run[1] === offset - 1) {
    run[1] = offset
    if (next?.[0] === offset + 1) {
      run[1] = next[1]
      runs.splice(index + 1, 1)
    }
  } else if (next?.[0] === offset + 1) next[0] = offset
  else runs.splice(index + 1, 0, [offset, offset])
}

/** An empty set of places. */
export function positionSet(): PositionSet {
  const lanes = new Map<string, Runs>()
  const laneOf = ({ topic, partition, incarnation }: LetterPosition): string =>
    `${topic}/${partition}@${incarnation ?? ''}`
  return {
    has: at => {
      const runs = lanes.get(laneOf(at)) ?? []
      const run = runs[runBefore(runs, at.offset)]
      return run !== undefined && at.offset <= run[1]
    },
    add: at => {
      const lane = laneOf(at)
      const runs = lanes.get(lane)
      if (runs === undefined) lanes.set(lane, [[at.offset, at.offset]])
      else addOffset(runs, at.offset)
    },
  }
}

function isJournalRecord(value: unknown): value is JournalRecord {
  const { topic, partition, incarnation, runs } = (value ?? {}) as Partial<JournalRecord>
  return (
    typeof topic === 'string' && typeof partition === 'number' && typeof incarnation === 'string' && Array.isArray(runs)
  )
}

/** Every dead letter that was written back before. */
export async function readJournal(log: EventLog): Promise<PositionSet> {
  const replayed = positionSet()
  const partitions = (await log.describe(REPLAYS_TOPIC))?.partitions ?? 0
  const decoder = new TextDecoder()
  for (let index = 0; index < partitions; index++) {
    for await (const { record } of recordsOf(log, REPLAYS_TOPIC, index)) {
      const entry: unknown = JSON.parse(decoder.decode(record.value))
      if (!isJournalRecord(entry)) continue
      const { topic, partition, incarnation } = entry
      for (const [first, last] of entry.runs) {
        for (let offset = first; offset <= last; offset++) replayed.add({ topic, partition, incarnation, offset })
      }
    }
  }
  return replayed
}

/** Notes dead letters of one partition, in the order of their offsets, as written back; durable when resolved. */
export async function writeJournal(log: EventLog, written: readonly LetterPosition[]): Promise<void> {
  const [first] = written
  if (first === undefined) return
  const runs: Runs = []
  for (const { offset } of written) addOffset(runs, offset)
  const { topic, partition, incarnation } = first
  const entry: JournalRecord = { topic, partition, incarnation: incarnation ?? '', runs }
  await log.append([
    { topic: REPLAYS_TOPIC, partition: 0, key: null, value: new TextEncoder().encode(JSON.stringify(entry)) },
  ])
}

/** Makes the journal where there is none. */
export async function ensureJournal(log: EventLog): Promise<void> {
  await log.ensureTopics([{ name: REPLAYS_TOPIC, partitions: 1, retentionMs: 0 }])
}
