import { familySuites } from './laws.ts'

familySuites(3)
