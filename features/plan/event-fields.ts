import type { Cell, FieldType } from '../kernel/types.ts'
import { NumberText, Refusal, shown } from './event-codes.ts'

/** Bound on each string of an event, in bytes of UTF-8. */
export const maxStringBytes = 65_536

/** Times in milliseconds below this (March 1973) are taken for seconds; 1e11 seconds lie in the year 5138. */
export const leastTimeMs = 100_000_000_000

/** The last instant that a calendar date can name. */
const greatestTimeMs = 8_640_000_000_000_000

const INT64_MIN = -(2n ** 63n)
const INT64_MAX = 2n ** 63n - 1n

/** Below this, a double with at most 15 significant digits and the scaled integer tell each other exactly. */
const PLAIN_SCALED = 1e15

/** Turns a present (not null) value into a cell, or says why not. */
export type CellReader = (value: unknown) => Cell | Refusal

/** The reader for a field of this type. Values are those of parsed JSON, `NumberText`, or bigints. */
export function cellReader(type: FieldType): CellReader {
  switch (type.kind) {
    case 'string':
      return readString
    case 'boolean':
      return value => (typeof value === 'boolean' ? value : wrong('true or false', value))
    case 'int':
      return readInt
    case 'int64':
      return readInt64
    case 'double':
      return readDouble
    case 'decimal':
      return decimalReader(type.scale)
    case 'timestamp':
      return readTimestamp
    case 'vector':
      return vectorReader(type.length)
  }
}

function wrong(expected: string, found: unknown): Refusal {
  return new Refusal('WRONG_TYPE', `expected ${expected}, found ${shown(found)}`)
}

function readString(value: unknown): Cell | Refusal {
  if (typeof value !== 'string') return wrong('a string', value)
  if (value.length * 3 > maxStringBytes && utf8Length(value) > maxStringBytes) {
    return new Refusal(
      'STRING_TOO_LONG',
      `the string has ${utf8Length(value)} bytes, at most ${maxStringBytes} are allowed`,
    )
  }
  if (!value.isWellFormed()) return new Refusal('MALFORMED_STRING', 'the string holds half of a surrogate pair')
  return value
}

function utf8Length(text: string): number {
  let bytes = text.length
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit >= 0x80) bytes += unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 1 : 2
  }
  return bytes
}

function readInt(value: unknown): Cell | Refusal {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return value + 0
    if (Number.isInteger(value)) return beyondSafe(value)
    return wrong('a whole number', value)
  }
  if (typeof value === 'bigint') {
    const plain = Number(value)
    return Number.isSafeInteger(plain) ? plain : beyondSafe(value)
  }
  if (value instanceof NumberText) return safeInteger(value.text, value)
  return wrong('a whole number', value)
}

function safeInteger(text: string, value: unknown): number | Refusal {
  const plain = Number(text)
  if (!Number.isSafeInteger(plain)) {
    const isPart = Number.isFinite(plain) && !Number.isInteger(plain)
    return isPart ? wrong('a whole number', value) : beyondSafe(value)
  }
  return isExactly(text, plain) ? plain + 0 : wrong('a whole number', value)
}

function beyondSafe(value: unknown): Refusal {
  return new Refusal(
    'OUT_OF_RANGE',
    `${shown(value)} is beyond ±(2^53 − 1), the range of int; declare the field t.int64() where such values occur`,
  )
}

function isExactly(text: string, plain: number): boolean {
  const parsed = parseDecimal(text)
  return parsed !== null && parsed.decimals <= 0 && parsed.digits * 10n ** BigInt(-parsed.decimals) === BigInt(plain)
}

function readInt64(value: unknown): Cell | Refusal {
  let exact: bigint
  if (typeof value === 'bigint') exact = value
  else if (typeof value === 'number') {
    if (!Number.isInteger(value)) return wrong('a whole number', value)
    if (!Number.isSafeInteger(value)) {
      return new Refusal(
        'OUT_OF_RANGE',
        `${shown(value)} is not exact beyond 2^53; give a bigint or a string of digits`,
      )
    }
    exact = BigInt(value)
  } else if (typeof value === 'string' && /^-?\d{1,19}$/.test(value)) exact = BigInt(value)
  else if (value instanceof NumberText) {
    const parsed = parseDecimal(value.text)
    if (parsed === null || parsed.decimals > 0) return wrong('a whole number', value)
    if (parsed.decimals < -19) return beyondInt64(value)
    exact = parsed.digits * 10n ** BigInt(-parsed.decimals)
  } else return wrong('a whole number or a string of digits', value)
  return exact < INT64_MIN || exact > INT64_MAX ? beyondInt64(value) : exact
}

function beyondInt64(value: unknown): Refusal {
  return new Refusal('OUT_OF_RANGE', `${shown(value)} does not fit into 64 bits`)
}

function readDouble(value: unknown): Cell | Refusal {
  if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return Number(value)
  if (typeof value === 'number') return value + 0
  if (value instanceof NumberText) return Number(value.text) + 0
  if (typeof value === 'bigint') {
    const plain = Number(value)
    return BigInt(plain) === value ? plain : new Refusal('OUT_OF_RANGE', `${shown(value)} is no exact double`)
  }
  return wrong('a number', value)
}

interface Decimal {
  /** The significant digits as an integer, trailing zeros removed from behind the point. */
  readonly digits: bigint
  /** The value is digits × 10^−decimals. */
  readonly decimals: number
}

const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/
const MAX_NUMBER_CHARACTERS = 1100

/** The exact value of a number's text in lowest terms (no trailing zero unless it is 0), or null when it is none. */
function parseDecimal(text: string): Decimal | null {
  if (text.length > MAX_NUMBER_CHARACTERS) return null
  const match = NUMBER.exec(text)
  if (match === null) return null
  const written = (match[2] ?? '') + (match[3] ?? '')
  const digits = written.replace(/^0+/, '').replace(/0+$/, '')
  if (digits === '') return { digits: 0n, decimals: 0 }
  const dropped = written.length - written.replace(/0+$/, '').length
  const decimals = (match[3] ?? '').length - dropped - Number(match[4] ?? 0)
  const value = BigInt(digits)
  return { digits: match[1] === '-' ? -value : value, decimals }
}

function decimalReader(scale: number): CellReader {
  const unit = 10 ** scale
  return value => {
    if (typeof value === 'number') {
      const scaled = Math.round(value * unit)
      if (scaled < PLAIN_SCALED && scaled > -PLAIN_SCALED && scaled / unit === value) return scaled + 0
      if (!Number.isFinite(value)) return new Refusal('NOT_FINITE', `expected a decimal number, found ${value}`)
      return scaledExactly(String(value), scale, value)
    }
    if (typeof value === 'string') return scaledExactly(value, scale, value)
    if (value instanceof NumberText) return scaledExactly(value.text, scale, value)
    if (typeof value === 'bigint') return scaledExactly(String(value), scale, value)
    return wrong('a number or a numeric string', value)
  }
}

function scaledExactly(text: string, scale: number, value: unknown): Cell | Refusal {
  const parsed = parseDecimal(text)
  if (parsed === null) return wrong('a number or a numeric string', value)
  if (parsed.decimals > scale) {
    return new Refusal('TOO_MANY_DECIMALS', `${shown(value)} has ${parsed.decimals} decimals, scale is ${scale}`)
  }
  const zeros = scale - parsed.decimals
  const scaled =
    zeros > 16 && parsed.digits !== 0n ? Infinity : Number(parsed.digits * 10n ** BigInt(Math.min(zeros, 16)))
  if (Number.isSafeInteger(scaled)) return scaled + 0
  return new Refusal('OUT_OF_RANGE', `${shown(value)} is beyond ±(2^53 − 1) units of 10^−${scale}`)
}

const ISO_TIME = /^(\d{4}|[+-]\d{6})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:Z|([+-])(\d\d):?(\d\d))$/

function readTimestamp(value: unknown): Cell | Refusal {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return timestampOf(value)
    return Number.isInteger(value)
      ? beyondTime(value)
      : wrong('whole milliseconds or an ISO 8601 time with a zone', value)
  }
  if (typeof value === 'string') return isoTime(value)
  if (typeof value === 'bigint') return timestampOf(Number(value))
  if (value instanceof NumberText) {
    const plain = safeInteger(value.text, value)
    if (typeof plain === 'number') return timestampOf(plain)
    return plain.code === 'OUT_OF_RANGE'
      ? beyondTime(value)
      : wrong('whole milliseconds or an ISO 8601 time with a zone', value)
  }
  return wrong('whole milliseconds or an ISO 8601 time with a zone', value)
}

function timestampOf(ms: number): Cell | Refusal {
  if (ms > -leastTimeMs && ms < leastTimeMs) {
    const reason = `${ms} looks like seconds, not milliseconds: as milliseconds it is within four years of 1970`
    return new Refusal('LOOKS_LIKE_SECONDS', `${reason}; multiply by 1000, or write an ISO 8601 time`)
  }
  return Math.abs(ms) > greatestTimeMs ? beyondTime(ms) : ms
}

function beyondTime(value: unknown): Refusal {
  return new Refusal('OUT_OF_RANGE', `${shown(value)} milliseconds are beyond the calendar`)
}

/** Digits behind the millisecond are cut off. */
function isoTime(text: string): Cell | Refusal {
  const match = ISO_TIME.exec(text)
  if (match === null) return new Refusal('BAD_TIME', `expected an ISO 8601 time with a zone, found ${shown(text)}`)
  const part = (index: number): number => Number(match[index] ?? 0)
  const date = new Date(0)
  date.setUTCFullYear(part(1), part(2) - 1, part(3))
  const isDay = date.getUTCMonth() === part(2) - 1 && date.getUTCDate() === part(3)
  if (!isDay || part(4) > 23 || part(5) > 59 || part(6) > 59 || part(9) > 23 || part(10) > 59) {
    return new Refusal('BAD_TIME', `${shown(text)} is not on the calendar or the clock`)
  }
  const millis = Number((match[7] ?? '').padEnd(3, '0').slice(0, 3))
  const local = date.getTime() + part(4) * 3_600_000 + part(5) * 60_000 + part(6) * 1000 + millis
  const zone = (part(9) * 60 + part(10)) * 60_000
  const ms = match[8] === '+' ? local - zone : local + zone
  return Number.isNaN(ms) || Math.abs(ms) > greatestTimeMs ? beyondTime(text) : ms + 0
}

function vectorReader(length: number): CellReader {
  return value => {
    if (!Array.isArray(value)) return wrong(`an array of ${length} numbers`, value)
    if (value.length !== length) {
      return new Refusal('VECTOR_LENGTH', `expected an array of ${length} numbers, found ${value.length}`)
    }
    const elements: number[] = []
    for (let index = 0; index < length; index++) {
      const element: unknown = value[index]
      if (typeof element !== 'number') return wrong(`a number at index ${index}`, element)
      if (!Number.isFinite(element)) return new Refusal('NOT_FINITE', `the element at index ${index} is ${element}`)
      elements.push(element + 0)
    }
    return elements
  }
}
