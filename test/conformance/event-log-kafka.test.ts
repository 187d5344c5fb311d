import { describeWithKafka } from '../servers.ts'
import { eventLogConformance } from './event-log.ts'
import { kafkaSubject } from './event-log-kafka-harness.ts'

describeWithKafka('event log', servers => {
  eventLogConformance('Kafka 4.4.0', () => kafkaSubject(servers))
})

describeWithKafka('event log', { version: '3.7.2' }, servers => {
  eventLogConformance('Kafka 3.7.2', () => kafkaSubject(servers))
})
