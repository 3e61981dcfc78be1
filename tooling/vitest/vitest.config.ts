import { packageTests } from './src/preset.ts';

export default packageTests('vitest-preset');
