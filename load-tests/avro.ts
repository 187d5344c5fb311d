import { avroSchemaText } from '../features/plan/avro-schema.ts'
import type { SourcePlan } from '../features/plan/plan.ts'
import { createAvroReader } from '../topology/adapters/value-format/avro.ts'
import { avroEncoder } from '../topology/adapters/value-format/avro-writer.ts'
import { jsonFormats } from '../topology/event-record.ts'
import type { EventReader } from '../topology/ports/value-format.ts'
import { bestRate, plainRow, ratioRow } from './rows.ts'
import type { BenchRow } from './rows.ts'
import { benchPayments, benchPlan } from './workload.ts'

const EVENTS = 200_000
const ROUNDS = 5

/** Reading the demo's payments out of records in Avro, with the schema at hand, and out of the same in JSON. */
export async function benchAvro(): Promise<readonly BenchRow[]> {
  const { source, decode, encode } = benchPlan()
  const inAvro: SourcePlan = { ...source, format: 'avro' }
  const payments = benchPayments(EVENTS, 5_000)
  const write = avroEncoder(inAvro)
  const avro = payments.map(payment => write(1, decode(payment)))
  const json = payments.map(encode)
  const known = { text: avroSchemaText(inAvro) }
  const reader = createAvroReader(inAvro, {
    get: () => known,
    isMissing: () => false,
    fetch: () => Promise.resolve(),
    idOf: () => Promise.resolve(1),
  })
  const rate = (of: EventReader, values: readonly Uint8Array[]): Promise<number> =>
    bestRate(ROUNDS, EVENTS, () => {
      let valid = 0
      for (const value of values) if (of.read(value, Number.MAX_SAFE_INTEGER).ok) valid++
      if (valid !== EVENTS) throw new Error(`${EVENTS - valid} records were refused`)
    })
  const writes = await bestRate(ROUNDS, EVENTS, () => {
    for (const payment of payments) write(1, decode(payment))
  })
  const jsonWrites = await bestRate(ROUNDS, EVENTS, () => {
    for (const payment of payments) encode(payment)
  })
  const bytes = (values: readonly Uint8Array[]): number => values.reduce((sum, value) => sum + value.length, 0) / EVENTS
  return [
    ratioRow(
      'avro: events read; against the same in JSON',
      await rate(reader, avro),
      'events/s',
      await rate(jsonFormats.reader(source), json),
    ),
    ratioRow('avro: events checked and written; against the same in JSON', writes, 'events/s', jsonWrites),
    plainRow('avro: bytes per event', bytes(avro), 'bytes'),
    plainRow('avro: bytes per event in JSON', bytes(json), 'bytes'),
  ]
}
