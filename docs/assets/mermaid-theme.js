// Appended to the vendored Mermaid when the site is built. Material passes its own theme to mermaid.initialize, which
// forgets some parts of sequence diagrams: arrowheads almost vanish in the dark scheme, lifelines keep Mermaid's purple.
(() => {
  const initialize = mermaid.initialize.bind(mermaid);
  const arrows = `
    marker path, marker circle, #arrowhead path, #crosshead path, #filled-head path {
      fill: var(--md-mermaid-edge-color) !important;
      stroke: var(--md-mermaid-edge-color) !important;
    }
    .actor-line {
      stroke: var(--md-mermaid-sequence-actor-line-color) !important;
    }`;
  mermaid.initialize = (config) => initialize({ ...config, themeCSS: (config?.themeCSS ?? "") + arrows });
})();
