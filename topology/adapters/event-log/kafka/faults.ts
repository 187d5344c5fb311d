import { PortError } from '../../../ports/errors.ts'

/** The error codes of the protocol that are told apart here. */
export const CODE = {
  none: 0,
  offsetOutOfRange: 1,
  unknownTopicOrPartition: 3,
  leaderNotAvailable: 5,
  notLeader: 6,
  requestTimedOut: 7,
  brokerNotAvailable: 8,
  replicaNotAvailable: 9,
  messageTooLarge: 10,
  networkException: 13,
  coordinatorLoading: 14,
  coordinatorNotAvailable: 15,
  notCoordinator: 16,
  recordListTooLarge: 18,
  notEnoughReplicas: 19,
  notEnoughReplicasAfterAppend: 20,
  illegalGeneration: 22,
  unknownMember: 25,
  rebalanceInProgress: 27,
  topicAuthorizationFailed: 29,
  topicAlreadyExists: 36,
  notController: 41,
  outOfOrderSequence: 45,
  duplicateSequence: 46,
  invalidProducerEpoch: 47,
  storageError: 56,
  unknownProducerId: 59,
  fencedLeaderEpoch: 74,
  unknownLeaderEpoch: 75,
  offsetNotAvailable: 78,
  memberIdRequired: 79,
  throttlingQuotaExceeded: 89,
  unknownTopicId: 100,
  inconsistentTopicId: 103,
} as const

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(CODE).map(([name, code]) => [code, name.replaceAll(/([A-Z])/g, ' $1').toLowerCase()]),
)

const RETRIABLE: ReadonlySet<number> = new Set([
  CODE.unknownTopicOrPartition,
  CODE.leaderNotAvailable,
  CODE.notLeader,
  CODE.requestTimedOut,
  CODE.brokerNotAvailable,
  CODE.replicaNotAvailable,
  CODE.networkException,
  CODE.coordinatorLoading,
  CODE.coordinatorNotAvailable,
  CODE.notCoordinator,
  CODE.notEnoughReplicas,
  CODE.notEnoughReplicasAfterAppend,
  CODE.notController,
  CODE.storageError,
  CODE.fencedLeaderEpoch,
  CODE.unknownLeaderEpoch,
  CODE.offsetNotAvailable,
  CODE.throttlingQuotaExceeded,
  CODE.unknownTopicId,
  CODE.inconsistentTopicId,
])

/** An error that a broker answered. */
export class KafkaFault extends Error {
  readonly code: number
  constructor(code: number, what: string) {
    super(`${what}: ${NAMES.get(code) ?? 'error'} (Kafka error code ${code})`)
    this.name = 'KafkaFault'
    this.code = code
  }
}

/** The code of an error that a broker answered, through this adapter or through kafkajs; null for any other error. */
export function faultCode(error: unknown): number | null {
  if (error instanceof KafkaFault) return error.code
  const from = error as { name?: unknown; code?: unknown; errors?: readonly unknown[]; cause?: unknown } | null
  if (typeof from !== 'object' || from === null) return null
  if (Array.isArray(from.errors)) return faultCode(from.errors[0])
  const protocol = typeof from.name === 'string' && from.name !== 'KafkaJSConnectionError'
  return protocol && typeof from.code === 'number' ? from.code : null
}

/** TLS that can never come about does not get better by waiting. */
const TLS_FAILURE = /CERT|SELF_SIGNED|UNABLE_TO_|ERR_SSL|ERR_TLS|HOSTNAME/

/** Whether the same request may succeed later. */
export function isRetriable(error: unknown): boolean {
  if (error instanceof PortError) return false
  const code = faultCode(error)
  if (code !== null) return RETRIABLE.has(code)
  const from = error as { name?: unknown; code?: unknown }
  if (typeof from.code === 'string' && TLS_FAILURE.test(from.code)) return false
  if (typeof from.name !== 'string' || !from.name.startsWith('KafkaJS')) return false
  return !/SASL|NotImplemented|ServerDoesNotSupport|Invariant/.test(from.name)
}

/** The port's error for whatever went wrong; `what` says what was tried. */
export function portError(error: unknown, what: string): PortError {
  if (error instanceof PortError) return error
  const message = error instanceof Error ? error.message : String(error)
  const code = faultCode(error)
  if (code === CODE.unknownTopicOrPartition || code === CODE.unknownTopicId) {
    return new PortError('UNKNOWN_TOPIC', `${what}: ${message}. Make the topic, or correct its name.`, { cause: error })
  }
  const remedy = isRetriable(error)
    ? 'Check that the brokers run and can be reached.'
    : 'Check the address, the TLS files, the user and its rights.'
  return new PortError('LOG_UNAVAILABLE', `${what}: ${message}. ${remedy}`, { cause: error })
}
