import { packageTests, testsOfBuiltCode, testsOfPureCode } from '../../tooling/vitest/src/preset.ts';

export default packageTests('lra-bench', { ...testsOfBuiltCode, ...testsOfPureCode });
