// The unit tests of what draws nothing; `npm test` bundles them for Node's test runner.
import "./domain/clientId.test";
import "./domain/criteria.test";
import "./domain/evidence.test";
import "./domain/paths.test";
import "./time/format.test";
import "./time/range.test";
