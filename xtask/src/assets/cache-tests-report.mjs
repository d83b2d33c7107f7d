// Judges the results of a run with the suite's own rules, one JSON object a test.
// usage: node report.mjs RESULTS.json   (in a copy of the suite)
import fs from 'fs'
import tests from './tests/index.mjs'
import { determineTestResult, resultTypes } from './test-engine/lib/results.mjs'

const results = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const names = new Map(Object.entries(resultTypes).map(([name, type]) => [type, name]))
for (const suite of tests) {
  for (const test of suite.tests) {
    if (test.browser_only === true) continue
    const result = results[test.id]
    console.log(JSON.stringify({
      group: suite.id,
      id: test.id,
      kind: test.kind || 'required',
      verdict: names.get(determineTestResult(tests, test.id, results)),
      message: Array.isArray(result) ? String(result[1]) : ''
    }))
  }
}
