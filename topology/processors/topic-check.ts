import type { TopicInfo } from '../ports/event-log.ts'
import type { TopicNeed } from '../topology.ts'

/** One way in which a topic does not fit. */
export interface TopicProblem {
  readonly topic: string
  /** With an `error` nothing may run: records would be lost or told another time. */
  readonly severity: 'error' | 'warning'
  readonly message: string
  readonly remedy: string
}

/** Compares a topic with what the plan needs of it; `info` is null for one that is not there. */
export function checkTopic(need: TopicNeed, info: TopicInfo | null): readonly TopicProblem[] {
  const { name: topic } = need
  if (info === null) {
    const remedy = 'run headwater topics --create, or start a process that makes it'
    return [{ topic, severity: 'error', message: 'does not exist', remedy }]
  }
  const out: TopicProblem[] = []
  const say = (severity: TopicProblem['severity'], message: string, remedy: string): void => {
    out.push({ topic, severity, message, remedy })
  }
  if (info.partitions < need.partitions) {
    const message = `has ${info.partitions} partitions, the definitions ask for ${need.partitions}`
    say('error', message, 'add partitions to the topic, or ask for fewer')
  }
  // What is written beside can be read again from elsewhere; what is counted cannot.
  const severity = need.use === 'events' ? 'error' : 'warning'
  if (info.partitions > need.partitions && need.use === 'events') {
    const message = `has ${info.partitions} partitions, the definitions say ${need.partitions}`
    say(
      'warning',
      message,
      'say as many in the definitions; keys that moved keep their older sections until they age out',
    )
  }
  if (info.compacted) {
    const message = 'is compacted: older records of a key disappear, and state could not be made again'
    say(severity, message, 'set cleanup.policy to delete')
  }
  if (!info.appendTime) {
    const message = 'keeps the time that producers state: when a record became known cannot be told'
    say(severity, message, 'set message.timestamp.type to LogAppendTime')
  }
  if (info.retentionMs > 0 && info.retentionMs < need.leastRetentionMs) {
    const message = `keeps records for ${days(info.retentionMs)}, lateness and read horizon need ${days(need.leastRetentionMs)}`
    say(severity, message, `set retention.ms to ${need.leastRetentionMs} or more, or to -1 to keep records for ever`)
  }
  if (info.retentionBytes > 0 && need.use === 'events') {
    const message = `removes records above ${info.retentionBytes} bytes a partition, however young they are`
    say('warning', message, 'set retention.bytes to -1, or make sure that it is more than the retention ever holds')
  }
  for (const [message, remedy] of weaknesses(info)) say('warning', message, remedy)
  return out
}

/** By what acknowledged records may be lost, with what prevents it. */
function weaknesses(info: TopicInfo): readonly (readonly [message: string, remedy: string])[] {
  const { replicas, minInSyncReplicas = replicas, uncleanElection = false } = info
  const out: (readonly [string, string])[] = []
  if (uncleanElection) {
    const message = 'lets a copy that lacks acknowledged records take over: they are lost then'
    out.push([message, 'set unclean.leader.election.enable to false'])
  }
  if (replicas >= 3 && minInSyncReplicas < 2) {
    const message = `has ${replicas} copies, but acknowledges records that only ${minInSyncReplicas} of them has`
    out.push([message, 'set min.insync.replicas to 2'])
  }
  return out
}

const HOUR_MS = 3_600_000

/** A length of time as whole days, hours or milliseconds. */
function days(milliseconds: number): string {
  if (milliseconds % (24 * HOUR_MS) === 0) return `${milliseconds / (24 * HOUR_MS)} days`
  return milliseconds % HOUR_MS === 0 ? `${milliseconds / HOUR_MS} hours` : `${milliseconds} ms`
}
