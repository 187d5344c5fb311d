export { decide, outcomeOfScore } from './decide.ts'
