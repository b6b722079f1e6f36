/** The ids of the extension's own commands; the server's start with handlens.server. */

export const COMMANDS = {
  rerun: "handlens.rerun",
  cancel: "handlens.cancel",
  advise: "handlens.advise",
  showReport: "handlens.showReport",
  compareRecipe: "handlens.compareRecipe",
  selectTarget: "handlens.selectTarget",
  restart: "handlens.restart",
  chooseInterpreter: "handlens.chooseInterpreter",
  declareTarget: "handlens.declareTarget",
  menu: "handlens.menu",
  openReportPage: "handlens.openReportPage",
  showLog: "handlens.showLog",
  showModelOutput: "handlens.showModelOutput",
} as const;

export type CommandName = keyof typeof COMMANDS;
