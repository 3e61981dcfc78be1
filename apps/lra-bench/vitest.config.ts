import { packageTests, testsOfBuiltCode } from '../../tooling/vitest/src/preset.ts';

export default packageTests('lra-bench', testsOfBuiltCode);
