export { exact, type TopKOptions, topK } from './kept-keys.js';
export type {
  Mechanism,
  MechanismAbilities,
  MechanismAbility,
  MechanismCall,
  MechanismOptions,
  MechanismRefusals,
  MechanismSizes,
  MechanismState,
  MechanismStep,
} from './mechanism.js';
export { type PerformerOptions, performer } from './performer.js';
export { visibleKeys } from './visible-keys.js';
