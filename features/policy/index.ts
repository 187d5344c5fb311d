export { decide, outcomeOfScore } from './decide.ts'
export type { Decision, FailedRule } from './decide.ts'
