/** Why a record is not an event: the closed list, with what each code means. */
export const DECODE_ERRORS = {
  RECORD_TOO_LARGE: 'the record is larger than 1 MiB',
  NOT_UTF8: 'the record is not valid UTF-8',
  NOT_JSON: 'the record is not JSON, or is empty',
  NOT_AN_OBJECT: 'the record is JSON but not an object',
  MISSING_ID: 'the field that identifies the event is missing, null or empty',
  MISSING_FIELD: 'a field that is not optional is missing or null',
  UNKNOWN_FIELD: 'the record has fields that the event does not list, and the event refuses such',
  WRONG_TYPE: 'the value of a field has another type',
  STRING_TOO_LONG: 'a string is longer than 64 KiB in UTF-8',
  MALFORMED_STRING: 'a string holds half of a surrogate pair',
  OUT_OF_RANGE: 'a number is outside the range of its type',
  TOO_MANY_DECIMALS: 'a decimal has more digits behind the point than its scale',
  NOT_FINITE: 'a number is NaN or infinite where its type has no such values',
  VECTOR_LENGTH: 'a vector has another length',
  BAD_TIME: 'a time is not a calendar date and time with a zone',
  LOOKS_LIKE_SECONDS: 'a time in milliseconds lies before March 1973, as one in seconds would',
  NOT_AVRO: 'the body is not a value of the schema that the record names, or the record is cut short',
  UNKNOWN_SCHEMA: 'the record names a schema that the registry does not have',
  SCHEMA_NOT_READABLE: 'the schema that the record names cannot be read as this event',
  FUTURE: 'the event is dated further ahead of its arrival than the clock skew allows',
} as const

/** A key of `DECODE_ERRORS`. */
export type DecodeErrorCode = keyof typeof DECODE_ERRORS

/** Refused values are passed as results, not thrown. */
export class Refusal {
  readonly code: DecodeErrorCode
  /** What was found and what was expected, to be put behind the field's name. */
  readonly reason: string
  constructor(code: DecodeErrorCode, reason: string) {
    this.code = code
    this.reason = reason
  }
}

/** A number of a JSON record as it was written, where its exact digits matter. */
export class NumberText {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

const MAX_QUOTED_CHARACTERS = 60

/** A value as a reason shows it: JSON, cut to 60 characters. */
export function shown(value: unknown): string {
  if (value instanceof NumberText) return cut(value.text)
  if (typeof value === 'string') {
    return `the string ${JSON.stringify(value.length > MAX_QUOTED_CHARACTERS ? `${value.slice(0, MAX_QUOTED_CHARACTERS)}…` : value).toWellFormed()}`
  }
  if (typeof value === 'bigint' || typeof value === 'number') return cut(String(value))
  if (typeof value === 'boolean' || value === null) return String(value)
  if (Array.isArray(value)) return `an array of ${value.length}`
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function cut(text: string): string {
  return text.length > MAX_QUOTED_CHARACTERS ? `${text.slice(0, MAX_QUOTED_CHARACTERS)}…` : text
}
