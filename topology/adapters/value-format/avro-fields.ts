import type avsc from 'avsc'
import { decimalText } from '../../../features/plan/event.ts'
import type { FieldPlan } from '../../../features/plan/plan.ts'
import {
  NotAvro,
  readArray,
  readBoolean,
  readBranch,
  readBytes,
  readDouble,
  readFloat,
  readInt,
  readLong,
  readString,
  take,
} from './avro-cursor.ts'
import type { Cursor } from './avro-cursor.ts'
import { branchesOf, plainType, typeText } from './avro-types.ts'
import type { AvroType } from './avro-types.ts'

/** Reads a value of a writer's type as one that the checks of the event take. */
export type ValueRead = (cursor: Cursor) => unknown

/** How a field is read from a writer's type, or what can be read as this field instead. */
export type FieldRead =
  | {
      readonly ok: true
      readonly read: ValueRead
      /** The writer may leave the value out. */
      readonly mayBeNull: boolean
    }
  | { readonly ok: false; readonly found: string; readonly expected: string }

type Kind = FieldPlan['type']['kind']

const EXPECTED: Readonly<Record<Kind, string>> = {
  string: 'string or enum',
  boolean: 'boolean',
  int: 'int or long',
  int64: 'int, long, or string of digits',
  double: 'double, float, int or long',
  decimal: 'bytes or fixed with the logical type decimal, int, long, double, or string of digits',
  timestamp:
    'long, with the logical type timestamp-millis, timestamp-micros, timestamp-nanos or none, or string in ISO 8601 with a zone',
  vector: 'array of double, float, int or long',
}

/**
 * How a field of an event is read from a writer's type: Avro's promotions, and what JSON records may hold for the field
 * too. Of a union every branch must be readable; null is refused when it comes where the field is not optional.
 */
export function fieldRead(field: FieldPlan, type: AvroType): FieldRead {
  const branches = branchesOf(type) ?? [type]
  const reads: ValueRead[] = []
  let mayBeNull = false
  for (const branch of branches) {
    const isNull = plainType(branch).plain.typeName === 'null'
    if (isNull) mayBeNull = true
    const read = isNull ? () => null : valueRead(field, branch)
    if (read === null) return unreadable(field, type)
    reads.push(read)
  }
  const onlyNull = mayBeNull && branches.length === 1
  if (onlyNull && !field.optional) return unreadable(field, type)
  if (branchesOf(type) === null) return { ok: true, read: reads[0] as ValueRead, mayBeNull }
  const read: ValueRead = cursor => reads[readBranch(cursor, reads.length)]?.(cursor)
  return { ok: true, read, mayBeNull }
}

function unreadable(field: FieldPlan, type: AvroType): FieldRead {
  return { ok: false, found: typeText(type), expected: EXPECTED[field.type.kind] }
}

function valueRead(field: FieldPlan, type: AvroType): ValueRead | null {
  const { plain, logical, attributes } = plainType(type)
  const { typeName } = plain
  switch (field.type.kind) {
    case 'string':
      return typeName === 'enum' ? enumRead(plain as avsc.types.EnumType) : typeName === 'string' ? readString : null
    case 'boolean':
      return typeName === 'boolean' ? readBoolean : null
    case 'int':
      return wholeRead(typeName)
    case 'int64':
      return wholeRead(typeName) ?? (typeName === 'string' ? readString : null)
    case 'double':
      return numberRead(typeName)
    case 'decimal':
      if (logical === 'decimal') return decimalRead(plain, attributes)
      if (typeName === 'string' || typeName === 'double') return typeName === 'string' ? readString : readDouble
      return logical === null ? wholeRead(typeName) : null
    case 'timestamp':
      return instantRead(typeName, logical)
    case 'vector':
      return typeName === 'array' ? vectorRead((plain as avsc.types.ArrayType).itemsType) : null
  }
}

function wholeRead(typeName: string): ValueRead | null {
  return typeName === 'long' ? readLong : typeName === 'int' ? readInt : null
}

function numberRead(typeName: string): ValueRead | null {
  return typeName === 'double' ? readDouble : typeName === 'float' ? readFloat : wholeRead(typeName)
}

function enumRead(type: avsc.types.EnumType): ValueRead {
  const { symbols } = type
  return cursor => {
    const symbol = symbols[readInt(cursor)]
    if (symbol === undefined) throw new NotAvro(`an enum of ${symbols.length} symbols has another one`)
    return symbol
  }
}

function vectorRead(items: AvroType): ValueRead | null {
  const read = numberRead(plainType(items).plain.typeName)
  return read === null ? null : cursor => readArray(cursor, read)
}

const MICROS_PER_MS = 1_000
const NANOS_PER_MS = 1_000_000

/** What lies behind the millisecond is cut off, as it is of times in ISO 8601. */
function instantRead(typeName: string, logical: string | null): ValueRead | null {
  if (typeName === 'string') return readString
  if (typeName !== 'long') return null
  switch (logical) {
    case null:
    case 'timestamp-millis':
      return readLong
    case 'timestamp-micros':
      return cursor => wholeQuotient(readLong(cursor), MICROS_PER_MS)
    case 'timestamp-nanos':
      return cursor => wholeQuotient(readLong(cursor), NANOS_PER_MS)
    default:
      return null
  }
}

function wholeQuotient(value: number | bigint, divisor: number): number {
  if (typeof value === 'number') return Math.floor(value / divisor)
  const by = BigInt(divisor)
  const quotient = value / by
  return Number(value < 0n && quotient * by !== value ? quotient - 1n : quotient)
}

const MAX_SCALE = 1_000
/** Below this, dividing by a power of ten gives the double nearest to the decimal, which tells it exactly. */
const PLAIN_SCALED = 1e15
/** Bytes of the longest unscaled value that is looked at; a cell has 53 bits. */
const MAX_DECIMAL_BYTES = 256

/** Decimals as numbers where that is exact, else as text; the checks of the event see to scale and range. */
function decimalRead(plain: AvroType, attributes: Readonly<Record<string, unknown>>): ValueRead | null {
  const scale = attributes['scale'] ?? 0
  if (typeof scale !== 'number' || !Number.isInteger(scale) || scale < 0 || scale > MAX_SCALE) return null
  const isPlain = scale <= 15
  const unit = 10 ** scale
  const value = (bytes: Buffer): unknown => {
    if (bytes.length === 0) throw new NotAvro('a decimal has no bytes')
    if (bytes.length > MAX_DECIMAL_BYTES) throw new NotAvro(`a decimal has ${bytes.length} bytes`)
    if (bytes.length <= 6) {
      const scaled = bytes.readIntBE(0, bytes.length)
      if (isPlain && scaled < PLAIN_SCALED && scaled > -PLAIN_SCALED) return scaled / unit
      return scaledText(BigInt(scaled), scale)
    }
    return scaledText(BigInt.asIntN(bytes.length * 8, BigInt(`0x${bytes.toString('hex')}`)), scale)
  }
  if (plain.typeName === 'bytes') return cursor => value(readBytes(cursor))
  if (plain.typeName !== 'fixed') return null
  const { size } = plain as unknown as { readonly size: number }
  return cursor => {
    const from = take(cursor, size)
    return value(cursor.bytes.subarray(from, from + size))
  }
}

function scaledText(scaled: bigint, scale: number): string {
  if (scaled >= -9007199254740991n && scaled <= 9007199254740991n) return decimalText(Number(scaled), scale)
  const digits = String(scaled < 0n ? -scaled : scaled).padStart(scale + 1, '0')
  const point = digits.length - scale
  return `${scaled < 0n ? '-' : ''}${digits.slice(0, point)}${scale === 0 ? '' : `.${digits.slice(point)}`}`
}
