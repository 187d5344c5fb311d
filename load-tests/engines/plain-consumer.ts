import kafkajs from 'kafkajs'
import { unpack } from '../../topology/adapters/event-log/kafka/codecs.ts'
import { reportUsage } from './usage.ts'

// The least that a consumer can do: kafkajs fetches and decodes every record, and only its length is looked at.
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: () => Promise.reject(new Error('nothing is written here')),
  decompress: (bytes: Buffer) => Promise.resolve(unpack(CompressionTypes.LZ4, bytes)),
})

const [brokers = '', topic = '', expected = '0'] = process.argv.slice(2)
const kafka = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING })
await reportUsage(async () => {
  const consumer = kafka.consumer({ groupId: `plain-${process.pid}`, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  let [records, bytes] = [0, 0]
  await consumer.run({
    autoCommit: false,
    eachBatch: ({ batch }) => {
      for (const message of batch.messages) bytes += message.value?.length ?? 0
      records += batch.messages.length
      if (records >= Number(expected)) process.send?.({ kind: 'finished', bytes })
      return Promise.resolve()
    },
  })
  return () => consumer.disconnect()
})
