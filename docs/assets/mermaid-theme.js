// Appended to the vendored Mermaid when the site is built. Material passes its own theme to mermaid.initialize; its
// sequence diagrams leave the arrowheads almost invisible in the dark scheme, so they get the colour of their lines.
(() => {
  const initialize = mermaid.initialize.bind(mermaid);
  const arrows = `
    marker path, marker circle, #arrowhead path, #crosshead path, #filled-head path {
      fill: var(--md-mermaid-edge-color) !important;
      stroke: var(--md-mermaid-edge-color) !important;
    }`;
  mermaid.initialize = (config) => initialize({ ...config, themeCSS: (config?.themeCSS ?? "") + arrows });
})();
