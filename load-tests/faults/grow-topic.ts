import { Kafka, logLevel } from 'kafkajs'

/** Gives a topic more partitions, as an operator would. */
export async function growTopic(brokers: readonly string[], topic: string, partitions: number): Promise<void> {
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    await admin.createPartitions({ topicPartitions: [{ topic, count: partitions }] })
  } finally {
    await admin.disconnect()
  }
}
