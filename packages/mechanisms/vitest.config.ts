import { packageTests } from '../../tooling/vitest/src/preset.ts';

export default packageTests('mechanisms');
