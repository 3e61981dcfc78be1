import { packageTests, testsOfBuiltCode } from '../../tooling/vitest/src/preset.ts';

export default packageTests('onnxruntime', testsOfBuiltCode);
