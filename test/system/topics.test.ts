import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { systemClock } from '../../services/clock.ts'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import type { TopicInfo } from '../../topology/ports/event-log.ts'
import type { TopicProblem } from '../../topology/processors/topic-check.ts'
import { headwater, temporaryFolder } from './headwater.ts'

const NAMES = ['payments', 'payments.late', 'payments.dead-letter', 'hw.scores', 'hw.labels']
const PARTITIONS = 4

interface Listed {
  readonly topics: readonly { readonly need: { readonly name: string }; readonly info: TopicInfo | null }[]
  readonly problems: readonly TopicProblem[]
}

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => folder.remove())

const topics = (...flags: string[]) =>
  headwater(['topics', '--features', 'test/system/definitions/payments.ts', '--data', folder.path, ...flags])
const listed = (stdout: string): Listed => JSON.parse(stdout) as Listed

it('names what is absent with its remedy and changes nothing, makes it when asked to, and has no more to say then', async () => {
  const before = await topics()
  expect(before.code).toBe(1)
  expect(before.stdout.split('\n')[0]).toMatch(/^topic +partitions +retention +compaction +timestamps +replicas$/)
  for (const name of NAMES) {
    expect(before.stdout).toMatch(new RegExp(`^${name} +- +-`, 'm'))
    expect(before.stderr).toContain(`error ${name} does not exist\n  remedy: run headwater topics --create`)
  }
  const asJson = await topics('--json')
  expect(asJson.code).toBe(1)
  expect(listed(asJson.stdout).topics.map(({ need, info }) => [need.name, info])).toEqual(
    NAMES.map(name => [name, null]),
  )
  expect(listed(asJson.stdout).problems.map(({ topic, severity }) => [topic, severity])).toEqual(
    NAMES.map(name => [name, 'error']),
  )
  const made = await topics('--create')
  expect(made.code, made.stderr).toBe(0)
  expect(made.stderr).toBe('')
  expect(made.stdout).toMatch(/^payments \(made\) +4 +for ever +none +append time +1$/m)
  const after = await topics('--create')
  expect(after.code).toBe(0)
  expect(after.stdout).not.toContain('(made)')
  const known = listed((await topics('--json')).stdout)
  expect(known.problems).toEqual([])
  expect(known.topics.map(({ info }) => info?.partitions)).toEqual(NAMES.map(() => PARTITIONS))
})

it('ends with exit code 1 on a topic that does not fit, leaves it as it is, and makes the others', async () => {
  const log = await openEmbeddedEventLog({ path: join(folder.path, 'event-log.sqlite'), clock: systemClock })
  await log.ensureTopics([{ name: 'payments', partitions: 3, retentionMs: 3_600_000 }])
  await log.close()
  const { code, stdout, stderr } = await topics('--create')
  expect(code).toBe(1)
  expect(stdout).toMatch(/^payments +3 +1 h +none +append time +1$/m)
  expect(stdout).toMatch(/^payments\.late \(made\) +4 /m)
  expect(stderr).toContain('error payments has 3 partitions, the definitions ask for 4\n  remedy: add partitions')
  expect(stderr).toMatch(/^error payments keeps records for 1 hours, lateness and read horizon need 2 days$/m)
  const { problems } = listed((await topics('--json')).stdout)
  expect(problems.map(({ topic, severity }) => [topic, severity])).toEqual([
    ['payments', 'error'],
    ['payments', 'error'],
  ])
})
