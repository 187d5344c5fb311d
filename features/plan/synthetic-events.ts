import type { Cell, FieldType, Point, TimeMs } from '../kernel/types.ts'

const MINUTE_MS = 60_000
const DISTINCT_TEXTS = 100
const GREATEST_INT = 1000
const GREATEST_INT64 = 1e9
const GREATEST_AMOUNT_CENTS = 50_000
const UUID_BYTES = 36

/** Of what shape synthetic events are. */
export interface EventShape {
  readonly columns: readonly FieldType[]
  readonly filterCount: number
  /** The type of the field that holds event ids. */
  readonly idType: FieldType
  /** Length of an id in bytes where it is text; 36 stands for a UUID. */
  readonly idBytes: number
  /** Length of other texts in bytes. */
  readonly textBytes: number
}

/**
 * The time before event number `index` in milliseconds, of events that come at random, one each `spacingMs` on average:
 * the same for the same arguments.
 */
export function syntheticInterval(index: number, spacingMs: number): number {
  return -Math.log(1 - uniform(index, -1)) * spacingMs
}

/**
 * Event number `index` of a stream, at a time: the same for the same arguments. Numbers and texts are spread unevenly,
 * small ones more often; a filter lets half of the events through; nothing is null.
 */
export function syntheticEvent(shape: EventShape, index: number, time: TimeMs): Point {
  const cells = shape.columns.map((type, column) => cellOf(type, shape, time, index, column))
  const mask = shape.filterCount === 0 ? 0 : hash32(index, -2) >>> (32 - shape.filterCount)
  return { time, id: idOf(shape, index), cells, mask }
}

function idOf({ idType, idBytes }: EventShape, index: number): string {
  if (idType.kind !== 'string') return String(1_000_000_000 + index)
  if (idBytes !== UUID_BYTES) return text(index, idBytes)
  const hex = [0, 1, 2, 3]
    .map(part =>
      hash32(index, -3 - part)
        .toString(16)
        .padStart(8, '0'),
    )
    .join('')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** Text of exactly that many bytes, but never fewer than tell one number from another. */
function text(value: number, bytes: number): string {
  return `t${value.toString(36)}`.padEnd(bytes, '_')
}

function cellOf(type: FieldType, shape: EventShape, time: TimeMs, index: number, column: number): Cell {
  const part = uniform(index, column)
  const skewed = part * part
  switch (type.kind) {
    case 'string':
      return text(Math.floor(skewed * DISTINCT_TEXTS), shape.textBytes)
    case 'boolean':
      return part < 0.5
    case 'int':
      return Math.floor(skewed * GREATEST_INT)
    case 'int64':
      return BigInt(Math.floor(skewed * GREATEST_INT64))
    case 'double':
      return Math.floor(skewed * GREATEST_AMOUNT_CENTS) / 100
    case 'decimal':
      return Math.floor((skewed * GREATEST_AMOUNT_CENTS * 10 ** type.scale) / 100)
    case 'timestamp':
      return time - Math.floor(part * MINUTE_MS)
    case 'vector':
      return Array.from({ length: type.length }, (_, element) => uniform(index, 1000 + element) - 0.5)
  }
}

/** From 0 up to 1. */
function uniform(index: number, salt: number): number {
  return hash32(index, salt) / 2 ** 32
}

/** A fixed mixing of two whole numbers to 32 bits (the finaliser of MurmurHash3). */
function hash32(index: number, salt: number): number {
  let bits = Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(salt + 7, 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}
