import type { Policy } from '../define/index.ts'

/** A rule that did not answer, with the reason. */
export interface FailedRule {
  readonly name: string
  readonly reason: string
}

/** An outcome with the rules that led to it or could not be asked. */
export interface Decision {
  readonly outcome: string
  /** Names of the rules that held, in the policy's order. */
  readonly matchedRules: readonly string[]
  /** Names of the rules that did not answer, in the policy's order. */
  readonly failedRules: readonly string[]
  /** The same with their reasons. */
  readonly failures: readonly FailedRule[]
}

/**
 * The worst outcome among that of the score and those of the rules that match. The score's outcome is the worst whose
 * threshold it reaches, the best when it reaches none, and the policy's fallback when there is no score (null or NaN).
 * A rule matches when it answers true; false and null (unknown) do not match; one that throws, or answers anything
 * else, is reported as failed and does not match. Never throws.
 * @param view what the rules look at: `request`, `derived` and the groups by name
 */
export function decide(policy: Policy, view: unknown, score: number | null): Decision {
  const { outcomes } = policy
  let worst = outcomes.indexOf(outcomeOfScore(policy, score))
  const matchedRules: string[] = []
  const failures: FailedRule[] = []
  for (const rule of policy.rules) {
    try {
      const answer: unknown = rule.when(view as never)
      if (answer === true) {
        matchedRules.push(rule.name)
        worst = Math.max(worst, outcomes.indexOf(rule.outcome))
      } else if (answer !== false && answer !== null) {
        failures.push({ name: rule.name, reason: `it answered ${typeof answer}, not true, false or null` })
      }
    } catch (error) {
      failures.push({
        name: rule.name,
        reason: error instanceof Error ? error.message : 'it threw something else than an Error',
      })
    }
  }
  return {
    outcome: outcomes[worst] ?? policy.fallback,
    matchedRules,
    failedRules: failures.map(failure => failure.name),
    failures,
  }
}

/** The outcome that a score alone gives. */
export function outcomeOfScore(policy: Policy, score: number | null): string {
  if (score === null || Number.isNaN(score)) return policy.fallback
  let outcome = policy.outcomes[0] ?? policy.fallback
  for (const candidate of policy.outcomes) {
    const threshold = policy.thresholds[candidate]
    if (threshold !== undefined && score >= threshold) outcome = candidate
  }
  return outcome
}
