import { eventDecoder } from '../../features/plan/event.ts'
import type { Plan, SourcePlan } from '../../features/plan/plan.ts'
import { eventRecorder, jsonFormats } from '../event-record.ts'
import type { Clock } from '../ports/clock.ts'
import type { EventLog, NewRecord } from '../ports/event-log.ts'
import { ServerError } from '../ports/server.ts'
import type { ItemResult, PublishRequest, PublishedPosition, ServerHandlers } from '../ports/server.ts'
import type { EventFormats, EventWriter } from '../ports/value-format.ts'

interface PreparedSource {
  readonly source: SourcePlan
  readonly decoder: ReturnType<typeof eventDecoder>
  readonly writer: EventWriter
  readonly toRecord: ReturnType<typeof eventRecorder>
}

const MAX_PUBLISHED_EVENTS = 10_000

/**
 * Writes checked events into their source's topic; an event that is not valid fails alone and is not written. Resolves
 * when the valid ones are durable. More than 10,000 events in one call are refused.
 */
export function createPublisher(
  plan: Plan,
  log: EventLog,
  clock: Clock,
  formats: EventFormats = jsonFormats,
): Pick<ServerHandlers, 'publishEvents'> {
  const prepared = new Map<string, PreparedSource>()
  for (const source of plan.sources) {
    const writer = formats.writer(source)
    const toRecord = eventRecorder(source, writer)
    prepared.set(source.name, { source, decoder: eventDecoder(source), writer, toRecord })
  }
  return {
    publishEvents: async (request: PublishRequest) => {
      const target = prepared.get(request.source)
      if (target === undefined) {
        const known = [...prepared.keys()].join(', ') || 'none'
        throw new ServerError('UNKNOWN_SOURCE', `source: there is no event "${request.source}"; the plan has ${known}`)
      }
      if (request.events.length > MAX_PUBLISHED_EVENTS) {
        const message = `events: ${request.events.length} are more than the ${MAX_PUBLISHED_EVENTS} of one call; send several`
        throw new ServerError('BATCH_TOO_LARGE', message)
      }
      const { source, decoder, writer, toRecord } = target
      const ready = writer.prepare()
      if (ready !== null) await ready.catch(notWritten)
      const nowMs = clock.nowMs()
      const records: NewRecord[] = []
      const results: (ItemResult<PublishedPosition> | null)[] = request.events.map((fields, index) => {
        const refused = (reason: string): ItemResult<PublishedPosition> => ({
          ok: false,
          error: new ServerError('INVALID_EVENT', `events[${index}]: ${reason}`),
        })
        const decoded = decoder.decodeFields(fields, nowMs)
        if (!decoded.ok) return refused(`${decoded.reason} (${decoded.code})`)
        const made = toRecord(decoded.event, null)
        if (!made.ok) return refused(made.reason)
        records.push(made.record)
        return null
      })
      const positions = records.length === 0 ? [] : await append(log, records)
      let next = 0
      return results.map(result => {
        if (result !== null) return result
        const position = positions[next++] ?? { partition: -1, offset: -1 }
        return { ok: true, answer: { topic: source.topic, ...position } }
      })
    },
  }
}

async function append(log: EventLog, records: readonly NewRecord[]) {
  try {
    return await log.append(records)
  } catch (error) {
    return notWritten(error)
  }
}

function notWritten(error: unknown): never {
  const reason = error instanceof Error ? error.message : String(error)
  throw new ServerError('LOG_UNAVAILABLE', `the events were not written: ${reason}`, { cause: error })
}
