import avsc from 'avsc'
import { avroSchemaText } from '../../../features/plan/avro-schema.ts'
import { maxRecordBytes } from '../../../features/plan/event.ts'
import type { DecodedEvent } from '../../../features/plan/event.ts'
import type { FieldPlan, SourcePlan } from '../../../features/plan/plan.ts'
import type { Cell } from '../../../features/kernel/types.ts'

const HEADER_BYTES = 5

function isWhole(value: unknown): boolean {
  return typeof value === 'number' ? Number.isSafeInteger(value) : typeof value === 'bigint'
}

function compareWhole(left: number | bigint, right: number | bigint): -1 | 0 | 1 {
  return left < right ? -1 : left > right ? 1 : 0
}

/** Longs as numbers or bigints, whichever they are given as; the library's own stop at 2^53. */
const LONG = avsc.types.LongType.__with({
  toBuffer: (value: number | bigint) => {
    const bytes = Buffer.allocUnsafe(8)
    bytes.writeBigInt64LE(BigInt(value))
    return bytes
  },
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  fromJSON: BigInt,
  toJSON: Number,
  isValid: isWhole,
  compare: compareWhole,
})

/** The shortest two's complement of a scaled integer, big-endian, as Avro's decimals are written. */
function decimalBytes(scaled: number): Buffer {
  for (let length = 1; length <= 6; length++) {
    const half = 2 ** (length * 8 - 1)
    if (scaled < -half || scaled >= half) continue
    const bytes = Buffer.allocUnsafe(length)
    bytes.writeIntBE(scaled, 0, length)
    return bytes
  }
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeBigInt64BE(BigInt(scaled))
  return bytes.subarray(1)
}

function written(field: FieldPlan, cell: Cell): unknown {
  return field.type.kind === 'decimal' && cell !== null ? decimalBytes(cell as number) : cell
}

/** Writes events as Avro bodies behind Confluent's header: a zero byte and the schema's id in four, big-endian. */
export function avroEncoder(source: SourcePlan): (id: number, event: Pick<DecodedEvent, 'cells'>) => Buffer {
  const schema = JSON.parse(avroSchemaText(source)) as avsc.Schema
  const type = avsc.Type.forSchema(schema, { registry: { long: LONG }, omitRecordMethods: true })
  return (id, event) => {
    const record: Record<string, unknown> = {}
    source.fields.forEach((field, index) => {
      record[field.name] = written(field, event.cells[index] ?? null)
    })
    const body = type.toBuffer(record)
    const length = HEADER_BYTES + body.length
    if (length > maxRecordBytes) {
      throw new RangeError(`the event has ${length} bytes as Avro, at most ${maxRecordBytes} are allowed`)
    }
    const bytes = Buffer.allocUnsafe(length)
    bytes[0] = 0
    bytes.writeUInt32BE(id, 1)
    body.copy(bytes, HEADER_BYTES)
    return bytes
  }
}
