import { packageTests, testsOfPureCode } from '../../tooling/vitest/src/preset.ts';

export default packageTests('core', testsOfPureCode);
