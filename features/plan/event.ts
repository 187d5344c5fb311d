import type { Cell, FieldType, TimeMs, Value } from '../kernel/types.ts'
import { NumberText, Refusal, shown } from './event-codes.ts'
import type { DecodeErrorCode } from './event-codes.ts'
import { cellReader, leastTimeMs } from './event-fields.ts'
import type { CellReader } from './event-fields.ts'
import type { SourcePlan } from './plan.ts'

export { DECODE_ERRORS } from './event-codes.ts'
export type { DecodeErrorCode } from './event-codes.ts'
export { maxStringBytes } from './event-fields.ts'

/** Bound on an encoded event. */
export const maxRecordBytes = 1_048_576

/** An event that passed its source's checks. */
export interface DecodedEvent {
  readonly id: string
  readonly time: TimeMs
  /** One cell per field of the source, in the plan's field order. */
  readonly cells: readonly Cell[]
}

/** An event, or the code and the reason why there is none; the reason names the field, what was expected and found. */
export type DecodeResult =
  | { readonly ok: true; readonly event: DecodedEvent }
  | { readonly ok: false; readonly code: DecodeErrorCode; readonly reason: string }

/** A source's checks, prepared once. */
export interface EventDecoder {
  /** @param arrivalMs when the log took the record; an event dated more than the clock skew after it is refused */
  decodeJson(bytes: Uint8Array, arrivalMs: TimeMs): DecodeResult
  /**
   * Values are strings, booleans, numbers, bigints, arrays of numbers or null; doubles may be NaN or infinite.
   * @param arrivalMs as for `decodeJson`; null leaves the check of the future out
   */
  decodeFields(fields: Readonly<Record<string, unknown>>, arrivalMs: TimeMs | null): DecodeResult
}

/**
 * Numbers of more than 15 significant digits, and exponents that may underflow, can differ from the double they are
 * parsed to; all others are told exactly by it. Text that matches is parsed with the source text of its numbers kept.
 */
const MAY_LOSE_DIGITS = /\d[\d.]{15,}|\d[eE]-\d{2}/

const EXACT_KINDS: ReadonlySet<FieldType['kind']> = new Set(['int', 'int64', 'decimal', 'timestamp'])

interface PreparedField {
  readonly name: string
  readonly optional: boolean
  readonly isDouble: boolean
  readonly read: CellReader
}

const BEGINS_AS_AVRO =
  "the record is not JSON: it begins with a zero byte, as records with a schema's number do; give the event format: 'avro' if its producers write Avro"

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Prepares a source's checks; keep the result, it is what makes decoding fast. */
export function eventDecoder(source: SourcePlan): EventDecoder {
  const fields: readonly PreparedField[] = source.fields.map(field => ({
    name: field.name,
    optional: field.optional,
    isDouble: field.type.kind === 'double',
    read: cellReader(field.type),
  }))
  const known: ReadonlySet<string> = new Set(source.fields.map(field => field.name))
  const exact: ReadonlySet<string> = new Set(
    source.fields.filter(field => EXACT_KINDS.has(field.type.kind)).map(field => field.name),
  )
  const idIndex = source.fields.findIndex(field => field.name === source.idField)
  const timeIndex = source.fields.findIndex(field => field.name === source.timeField)
  const refuseUnknown = source.unknownFields === 'refuse'
  const keepDigits = (key: string, value: unknown, context?: { readonly source?: string }): unknown =>
    typeof value === 'number' && context?.source !== undefined && exact.has(key)
      ? new NumberText(context.source)
      : value

  function decodeObject(
    record: Readonly<Record<string, unknown>>,
    arrivalMs: number | null,
    json: boolean,
  ): DecodeResult {
    const cells: Cell[] = new Array<Cell>(fields.length)
    let present = 0
    for (let index = 0; index < fields.length; index++) {
      const field = fields[index] as PreparedField
      const value = record[field.name]
      if (value !== undefined) present++
      if (value === undefined || value === null) {
        if (!field.optional) return missing(source, field.name, value === undefined ? 'is missing' : 'is null')
        cells[index] = null
        continue
      }
      const cell = field.read(value)
      if (typeof cell === 'object' && cell instanceof Refusal) {
        return refused(cell.code, `field "${field.name}": ${cell.reason}`)
      }
      if (json && field.isDouble && typeof value !== 'string' && !Number.isFinite(cell)) {
        return refused('OUT_OF_RANGE', `field "${field.name}": the number is beyond the largest double`)
      }
      cells[index] = cell
    }
    if (refuseUnknown && Object.keys(record).length !== present) {
      const unknown = unknownFields(record, known)
      if (unknown !== null) return refused('UNKNOWN_FIELD', `event "${source.name}" has no ${unknown}`)
    }
    return identified(source, cells, idIndex, timeIndex, arrivalMs)
  }

  function decodeJson(bytes: Uint8Array, arrivalMs: number): DecodeResult {
    if (bytes.length > maxRecordBytes) {
      return refused('RECORD_TOO_LARGE', `the record has ${bytes.length} bytes, at most ${maxRecordBytes} are allowed`)
    }
    if (bytes.length === 0) return refused('NOT_JSON', 'the record is empty')
    if (bytes[0] === 0) return refused('NOT_JSON', BEGINS_AS_AVRO)
    let text: string
    try {
      text = utf8.decode(bytes)
    } catch {
      return refused('NOT_UTF8', 'the record is not valid UTF-8')
    }
    let record: unknown
    try {
      record = exact.size > 0 && MAY_LOSE_DIGITS.test(text) ? JSON.parse(text, keepDigits) : JSON.parse(text)
    } catch (error) {
      return refused('NOT_JSON', `the record is not JSON: ${error instanceof Error ? error.message : String(error)}`)
    }
    if (typeof record !== 'object' || record === null || Array.isArray(record)) {
      return refused('NOT_AN_OBJECT', `expected an object, found ${shown(record)}`)
    }
    return decodeObject(record as Record<string, unknown>, arrivalMs, true)
  }

  return { decodeJson, decodeFields: (record, arrivalMs) => decodeObject(record, arrivalMs, false) }
}

/** The event of checked cells, once its id and time are found to be right. */
function identified(
  source: SourcePlan,
  cells: readonly Cell[],
  idIndex: number,
  timeIndex: number,
  arrivalMs: number | null,
): DecodeResult {
  const id = keyText(cells[idIndex] ?? null)
  if (id === null || id === '') return missing(source, source.idField, 'is empty')
  const time = cells[timeIndex] as number
  if (time < leastTimeMs) {
    return refused('OUT_OF_RANGE', `field "${source.timeField}": an event cannot be dated before March 1973`)
  }
  if (arrivalMs !== null && time > arrivalMs + source.clockSkewMs) {
    const ahead = `${time - arrivalMs} ms after its arrival, more than the clock skew of ${source.clockSkewMs} ms`
    return refused(
      'FUTURE',
      `field "${source.timeField}": the event is dated ${new Date(time).toISOString()}, ${ahead}`,
    )
  }
  return { ok: true, event: { id, time, cells } }
}

function refused(code: DecodeErrorCode, reason: string): DecodeResult {
  return { ok: false, code, reason }
}

function missing(source: SourcePlan, field: string, how: string): DecodeResult {
  const isId = field === source.idField
  return refused(isId ? 'MISSING_ID' : 'MISSING_FIELD', `field "${field}" of event "${source.name}" ${how}`)
}

const MAX_NAMED_FIELDS = 5

function unknownFields(record: Readonly<Record<string, unknown>>, known: ReadonlySet<string>): string | null {
  const names = Object.keys(record).filter(name => !known.has(name) && record[name] !== undefined)
  if (names.length === 0) return null
  const listed = names.slice(0, MAX_NAMED_FIELDS).map(name => JSON.stringify(name.slice(0, 60)).toWellFormed())
  const more = names.length > MAX_NAMED_FIELDS ? ` and ${names.length - MAX_NAMED_FIELDS} more` : ''
  return `${names.length === 1 ? 'field' : 'fields'} ${listed.join(', ')}${more}`
}

/** Sources are frozen, so what was prepared for one stays right. */
const prepared = new WeakMap<SourcePlan, EventDecoder>()

function preparedDecoder(source: SourcePlan): EventDecoder {
  let decoder = prepared.get(source)
  if (decoder === undefined) {
    decoder = eventDecoder(source)
    prepared.set(source, decoder)
  }
  return decoder
}

/** Decodes one JSON record; prepares the source's checks at the first call. */
export function decodeJsonEvent(source: SourcePlan, bytes: Uint8Array, arrivalMs: TimeMs): DecodeResult {
  return preparedDecoder(source).decodeJson(bytes, arrivalMs)
}

/** Checks one event given as values by field name; prepares the source's checks at the first call. */
export function decodeFields(
  source: SourcePlan,
  fields: Readonly<Record<string, unknown>>,
  arrivalMs: TimeMs | null,
): DecodeResult {
  return preparedDecoder(source).decodeFields(fields, arrivalMs)
}

/** An id or entity key as text: strings as they are, integers in decimal digits; null for null. */
export function keyText(cell: Cell): string | null {
  if (typeof cell === 'string' || cell === null) return cell
  return String(cell)
}

const encoder = new TextEncoder()

/**
 * The event as a JSON record; fields that are null are left out. Integers beyond ±(2^53 − 1) are written as strings of
 * digits, decimals exactly, doubles that are not finite as the strings `NaN`, `Infinity` and `-Infinity` (as protobuf's
 * JSON mapping does). Throws `RangeError` for a record above 1 MiB.
 */
export function encodeJsonEvent(source: SourcePlan, event: Pick<DecodedEvent, 'cells'>): Uint8Array {
  const parts: string[] = []
  for (let index = 0; index < source.fields.length; index++) {
    const cell = event.cells[index] ?? null
    const field = source.fields[index]
    if (cell === null || field === undefined) continue
    const text = field.type.kind === 'decimal' ? decimalText(cell as number, field.type.scale) : jsonText(cell)
    parts.push(`${JSON.stringify(field.name)}:${text}`)
  }
  return bounded(parts)
}

/**
 * Values by field name as a JSON record, unchecked: unknown names are kept, so that reading the record refuses them;
 * null and undefined are left out. Throws as `encodeJsonEvent` does.
 */
export function encodeJsonFields(fields: Readonly<Record<string, unknown>>): Uint8Array {
  const parts: string[] = []
  for (const [name, value] of Object.entries(fields)) {
    if (value !== null && value !== undefined) parts.push(`${JSON.stringify(name)}:${jsonText(value)}`)
  }
  return bounded(parts)
}

function bounded(parts: readonly string[]): Uint8Array {
  const bytes = encoder.encode(`{${parts.join(',')}}`)
  if (bytes.length <= maxRecordBytes) return bytes
  throw new RangeError(`the event has ${bytes.length} bytes as JSON, at most ${maxRecordBytes} are allowed`)
}

function jsonText(value: unknown): string {
  if (typeof value === 'bigint') {
    return value >= -9007199254740991n && value <= 9007199254740991n ? String(value) : `"${value}"`
  }
  return JSON.stringify(typeof value === 'number' && !Number.isFinite(value) ? String(value) : value)
}

/** The digits of a scaled integer: 1234 at scale 2 is `12.34`. */
export function decimalText(scaled: number, scale: number): string {
  if (scale === 0) return String(scaled)
  const digits = String(Math.abs(scaled)).padStart(scale + 1, '0')
  const point = digits.length - scale
  return `${scaled < 0 ? '-' : ''}${digits.slice(0, point)}.${digits.slice(point)}`
}

/** A cell as authors see it: a decimal as the plain number, all else as it is. */
export function authorValue(type: FieldType, cell: Cell): Value {
  return type.kind === 'decimal' && cell !== null ? (cell as number) / 10 ** type.scale : cell
}

/** The fields of an event as authors see them, by name; a missing optional field is null. */
export function authorValues(source: SourcePlan, event: DecodedEvent): Record<string, Value> {
  const values: Record<string, Value> = {}
  for (let index = 0; index < source.fields.length; index++) {
    const field = source.fields[index]
    if (field !== undefined) values[field.name] = authorValue(field.type, event.cells[index] ?? null)
  }
  return values
}
