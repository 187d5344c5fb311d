import type { Plan, SourcePlan } from '../../features/plan/plan.ts'
import type { LogRecord, NewRecord } from '../ports/event-log.ts'
import type { ScoreRecord } from '../ports/score-record.ts'
import type { EventReader } from '../ports/value-format.ts'
import { jsonFormats } from '../event-record.ts'
import { deadLetterTopic } from '../topology.ts'
import { OFFLINE_TABLES, deadLetterRow, labelRow, rawRow, rawTableName, scoreRow } from './offline-schema.ts'
import { reportedRecord } from './reported.ts'
import type { LabelRecord, OfflineRow, RecordPosition } from './offline-schema.ts'

/** One row and the table it belongs to. */
export interface TableRow {
  readonly table: string
  readonly row: OfflineRow
}

/** What one record becomes: rows, and where it was not valid a record for the dead-letter topic. */
export interface MappedRecord {
  readonly rows: readonly TableRow[]
  readonly deadLetter: NewRecord | null
}

/** Maps the records of one topic; pure. */
export type RecordMapper = (record: LogRecord, incarnation: string) => MappedRecord

function positionOf(record: LogRecord, incarnation: string): RecordPosition {
  return { incarnation, partition: record.partition, offset: record.offset, arrivalMs: record.arrivalMs }
}

function deadLetterRowOf(record: LogRecord, incarnation: string, code: string, reason: string): TableRow {
  const position = positionOf(record, incarnation)
  const letter = { ...position, topic: record.topic, key: record.key, code, reason, payload: record.value }
  return { table: OFFLINE_TABLES.deadLetters, row: deadLetterRow(letter) }
}

/**
 * Events of a source: valid ones to its raw table, others to the dead letters with reason and position. The row keeps
 * every byte; in the topic a record that would no longer fit with its new headers is cut, and says from how many bytes.
 * @param maxRecordBytes the most that the log takes in one record
 * @param reader is to be prepared for the records before they are mapped
 */
export function sourceMapper(
  source: SourcePlan,
  maxRecordBytes: number,
  reader: EventReader = jsonFormats.reader(source),
): RecordMapper {
  const table = rawTableName(source)
  return (record, incarnation) => {
    const decoded = reader.read(record.value, record.arrivalMs)
    if (decoded.ok) {
      return {
        rows: [{ table, row: rawRow(source, positionOf(record, incarnation), decoded.event) }],
        deadLetter: null,
      }
    }
    const headers = {
      'hw-source': source.name,
      'hw-incarnation': incarnation,
      'hw-code': decoded.code,
      'hw-reason': decoded.reason,
    }
    return {
      rows: [deadLetterRowOf(record, incarnation, decoded.code, decoded.reason)],
      deadLetter: reportedRecord(record, { ...source, topic: deadLetterTopic(source) }, headers, maxRecordBytes),
    }
  }
}

/** Records of our own topics; one that cannot be read is kept as a dead letter of that topic. */
function jsonMapper<T>(table: string, toRow: (value: T, position: RecordPosition) => OfflineRow): RecordMapper {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  return (record, incarnation) => {
    try {
      const value = JSON.parse(decoder.decode(record.value)) as T
      return { rows: [{ table, row: toRow(value, positionOf(record, incarnation)) }], deadLetter: null }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      return { rows: [deadLetterRowOf(record, incarnation, 'NOT_READABLE', reason)], deadLetter: null }
    }
  }
}

const NUMERIC = /^(number|bigint|boolean)\b/

/** Scores; which features are numbers is read off the plan, because the log keeps an int64 as text. */
export function scoreMapper(plan: Plan): RecordMapper {
  const names = plan.groups.flatMap(group =>
    group.features.filter(feature => NUMERIC.test(feature.valueType)).map(feature => `${group.name}.${feature.name}`),
  )
  const numeric = new Set(names)
  return jsonMapper<ScoreRecord>(OFFLINE_TABLES.scores, record => scoreRow(record, numeric))
}

function checkedLabel(label: LabelRecord): LabelRecord {
  const { eventId, decisionId, label: value, knownAtMs } = label
  if (typeof eventId !== 'string' || eventId === '') throw new TypeError('eventId must be the id of the labelled event')
  if (decisionId !== null && typeof decisionId !== 'string') throw new TypeError('decisionId must be text or null')
  if (value !== 0 && value !== 1) throw new TypeError(`label must be 0 or 1, found ${JSON.stringify(value)}`)
  if (!Number.isSafeInteger(knownAtMs)) throw new TypeError('knownAtMs must be UTC milliseconds')
  return label
}

export const labelMapper: RecordMapper = jsonMapper<LabelRecord>(OFFLINE_TABLES.labels, (label, position) =>
  labelRow(checkedLabel(label), position),
)

/** A row that a table refused, as a dead letter with the engine's own words. */
export function refusedRow(record: LogRecord, incarnation: string, reason: string): TableRow {
  return deadLetterRowOf(record, incarnation, 'NOT_STORABLE', reason)
}
